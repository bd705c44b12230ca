//! The pieces of HTML that a report is put together from.

/// A table whose rows are text, the last cell possibly a bar.
pub struct Table {
    head: String,
    rows: String,
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2024;--soft:#5f6b76;--line:#d9dee3;--page:#fff;--tile:#f4f6f8;--a:#0b6bcb;--b:#8a95a0;--c:#c2410c;--yes:#15803d;--no:#b91c1c}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--soft:#9aa6b1;--line:#343b42;--page:#15181b;--tile:#1f2428;--a:#5aa9f5;--b:#7d8893;--c:#fb923c;--yes:#4ade80;--no:#f87171}}\
*{box-sizing:border-box}\
body{margin:0 auto;max-width:60rem;padding:1rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page)}\
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem}\
p{margin:.3rem 0 .8rem}.yes{color:var(--yes);font-weight:600}.no{color:var(--no);font-weight:600}\
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.6rem}\
.tiles div{background:var(--tile);border-radius:.5rem;padding:.6rem .8rem;color:var(--soft);font-size:.8rem}\
.tiles b{display:block;font-size:1.35rem;color:var(--ink)}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.85rem}\
th,td{text-align:left;padding:.3rem .7rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:break-word}\
th{color:var(--soft);font-weight:500}td{font-variant-numeric:tabular-nums}\
.bar{display:flex;align-items:center;gap:.5rem;min-width:9rem}.bar i{display:block;height:.6rem;background:var(--a);border-radius:.15rem}\
dl{display:grid;grid-template-columns:minmax(8rem,max-content) 1fr;gap:.25rem 1rem;font-size:.9rem;margin:0}\
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}\
details{margin:.8rem 0}summary{cursor:pointer;color:var(--a)}ul{padding-left:1.2rem;font-size:.9rem;overflow-wrap:anywhere}\
svg{width:100%;height:auto;display:block}svg text{fill:var(--soft);font-size:13px}svg .axis{stroke:var(--line)}\
svg .front{fill:none;stroke:var(--a);stroke-width:2;stroke-dasharray:5 4}svg .limit{stroke:var(--no);stroke-width:1.5;stroke-dasharray:2 3}\
.supernet{fill:var(--a)}.random{fill:var(--b)}.reference{fill:var(--c)}svg .winner{stroke:var(--ink);stroke-width:2.5}svg .name{fill:var(--ink)}\
@media print{details{display:block}}";

/// The whole page.
pub fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head>\n<body>{body}</body></html>\n"
    )
}

/// A part with its heading; nothing when there is nothing to say.
pub fn section(title: &str, body: &str) -> String {
    if body.is_empty() {
        return String::new();
    }
    format!("<h2>{}</h2>\n{body}\n", escape(title))
}

/// Something long behind a line that opens it.
pub fn fold(summary: &str, body: &str) -> String {
    format!(
        "<details><summary>{}</summary>{body}</details>",
        escape(summary)
    )
}

/// Names and their values.
pub fn facts(lines: &[(&str, String)]) -> String {
    let line = |(name, value): &(&str, String)| {
        format!("<dt>{}</dt><dd>{}</dd>", escape(name), escape(value))
    };
    format!("<dl>{}</dl>", lines.iter().map(line).collect::<String>())
}

/// A bulleted list; nothing of nothing.
pub fn list(items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let item = |item: &String| format!("<li>{}</li>", escape(item));
    format!("<ul>{}</ul>", items.iter().map(item).collect::<String>())
}

/// A fraction as percent with one decimal.
pub fn percent(fraction: f64) -> String {
    format!("{:.1} %", 100.0 * fraction)
}

/// Text that is safe inside of HTML.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[&str]) -> Self {
        let head = columns
            .iter()
            .map(|column| format!("<th>{}</th>", escape(column)));
        Self {
            head: head.collect(),
            rows: String::new(),
        }
    }

    /// Adds a row of text.
    pub fn row(&mut self, cells: &[&str]) {
        let cells: String = cells
            .iter()
            .map(|cell| format!("<td>{}</td>", escape(cell)))
            .collect();
        self.rows.push_str(&format!("<tr>{cells}</tr>"));
    }

    /// Adds a row of text that ends with a bar of this share.
    pub fn bar_row(&mut self, cells: &[&str], share: f64) {
        let cells: String = cells
            .iter()
            .map(|cell| format!("<td>{}</td>", escape(cell)))
            .collect();
        let (width, shown) = (6.0 * share.clamp(0.0, 1.0), percent(share));
        self.rows.push_str(&format!(
            "<tr>{cells}<td><span class=bar><i style=\"width:{width:.2}rem\"></i>{shown}</span></td></tr>"
        ));
    }

    /// The table; nothing without rows.
    pub fn html(&self) -> String {
        self.html_after("")
    }

    /// The table with something said before it; nothing without rows.
    pub fn html_after(&self, said: &str) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let Self { head, rows } = self;
        format!("{said}<div class=wide><table><tr>{head}</tr>{rows}</table></div>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hostile_gets_through() {
        assert_eq!(
            escape("<a href='x'>&\""),
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;"
        );
        let mut table = Table::new(&["a"]);
        table.row(&["<script>"]);
        assert!(!table.html().contains("<script"));
    }

    #[test]
    fn empty_parts_vanish() {
        assert_eq!(section("Limits", &Table::new(&["a"]).html()), "");
        assert_eq!(list(&[]), "");
    }
}
