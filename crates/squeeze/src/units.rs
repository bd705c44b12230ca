//! Times, sizes and precisions as people type and read them: `2ms`, `200us`, `256kB`, `1MiB`, `int8`.

use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use squeeze_infer::Precision;

/// Units of time and their seconds.
const TIMES: &[(&str, f64)] = &[
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("min", 60.0),
];

/// Units of size and their bytes.
const SIZES: &[(&str, f64)] = &[
    ("B", 1.0),
    ("kB", 1e3),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
];

/// Reads a time above zero: `2ms`, `200 us`, `1.5s`.
///
/// # Errors
/// When it has no number, no known unit, or is zero or more than a day.
pub fn time(text: &str) -> Result<Duration, String> {
    let seconds = quantity(text, TIMES, "2ms")?;
    if seconds > 86_400.0 {
        return Err("is more than a day".into());
    }
    match Duration::from_secs_f64(seconds) {
        Duration::ZERO => Err("must be above zero".into()),
        time => Ok(time),
    }
}

/// Reads how many threads there are to be: at least one, at most 255.
pub fn threads() -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u8).range(1..).map(usize::from)
}

/// Reads the name of a precision.
pub fn precision() -> impl TypedValueParser<Value = Precision> {
    let value = |one: Precision| PossibleValue::new(one.name()).help(one.about());
    PossibleValuesParser::new(Precision::ALL.map(value)).map(|name| {
        let mut all = Precision::ALL.into_iter();
        all.find(|one| one.name() == name)
            .expect("one of the possible values")
    })
}

/// Reads a size of at least one byte: `256kB`, `4 MB`, `1MiB`.
///
/// # Errors
/// When it has no number, no known unit, or is less than a byte.
pub fn size(text: &str) -> Result<u64, String> {
    let bytes = quantity(text, SIZES, "256kB")?;
    if !(1.0..=1e15).contains(&bytes) {
        return Err("must be between 1B and 1000000GB".into());
    }
    Ok(bytes.round() as u64)
}

/// Reads a number above zero, e.g. minutes.
///
/// # Errors
/// When it is no number, or not above zero.
pub fn positive(text: &str) -> Result<f64, String> {
    let value: f64 = text
        .trim()
        .parse()
        .map_err(|_| "is not a number".to_string())?;
    if value > 0.0 && value.is_finite() {
        Ok(value)
    } else {
        Err("must be above zero".into())
    }
}

/// Reads percentage points: at least 0 and at most 100.
///
/// # Errors
/// When it is no number there.
pub fn points(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(points) if (0.0..=100.0).contains(&points) => Ok(points),
        _ => Err("percentage points: at least 0 and at most 100, e.g. 0.5".into()),
    }
}

fn quantity(text: &str, units: &[(&str, f64)], example: &str) -> Result<f64, String> {
    let text = text.trim();
    let is_unit = |c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+');
    let (number, unit) = text.split_at(text.find(is_unit).unwrap_or(text.len()));
    let value: f64 = number
        .parse()
        .map_err(|_| format!("has no number: write e.g. {example}"))?;
    if value <= 0.0 || !value.is_finite() {
        return Err(format!("must be above zero: write e.g. {example}"));
    }
    let unit = unit.trim();
    let names = || {
        units
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    if unit.is_empty() {
        return Err(format!(
            "has no unit: write e.g. {example}; units are {}",
            names()
        ));
    }
    match units.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => Ok(value * factor),
        None => Err(format!(
            "has the unknown unit `{unit}`: units are {}",
            names()
        )),
    }
}

/// A time for people, with three digits and a fitting unit: `1.23 ms`, `845 us`.
pub fn show_time(ms: f64) -> String {
    match ms {
        _ if ms < 0.001 => format!("{} ns", digits(ms * 1e6)),
        _ if ms < 1.0 => format!("{} us", digits(ms * 1e3)),
        _ if ms < 1e3 => format!("{} ms", digits(ms)),
        _ => show_seconds(ms / 1e3),
    }
}

/// Seconds for people: `4.2 s`, `6 min 05 s`.
pub fn show_seconds(seconds: f64) -> String {
    if seconds < 99.95 {
        return format!("{} s", digits(seconds));
    }
    let whole = seconds.round() as u64;
    format!("{} min {:02} s", whole / 60, whole % 60)
}

/// A size for people in powers of ten: `256 kB`, `1.05 MB`.
pub fn show_size(bytes: u64) -> String {
    scaled(bytes as f64, &["B", "kB", "MB", "GB", "TB"])
}

/// A count for people: `850`, `1.21 M`.
pub fn show_count(count: u64) -> String {
    scaled(count as f64, &["", "k", "M", "G", "T"])
        .trim_end()
        .to_string()
}

fn scaled(mut value: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1e3;
        unit += 1;
    }
    format!("{} {}", digits(value), units[unit])
}

/// Three significant digits; whole numbers stay whole.
fn digits(value: f64) -> String {
    match value {
        _ if value.fract() == 0.0 || value >= 99.95 => format!("{value:.0}"),
        _ if value >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let read = |text| time(text).map(|time| time.as_nanos());
        assert_eq!(read("2ms"), Ok(2_000_000));
        assert_eq!(read(" 200 us "), Ok(200_000));
        assert_eq!(read("1.5s"), Ok(1_500_000_000));
        assert_eq!(read("1µs"), Ok(1_000));
    }

    #[test]
    fn sizes() {
        assert_eq!(size("256kB"), Ok(256_000));
        assert_eq!(size("1MiB"), Ok(1_048_576));
        assert_eq!(size("0.5 kB"), Ok(500));
    }

    #[test]
    fn wrong_ones_say_what_is_right() {
        for (text, wanted) in [
            ("0", "above zero"),
            ("0ms", "above zero"),
            ("-1ms", "above zero"),
            ("5", "has no unit"),
            ("5 parsec", "unknown unit `parsec`"),
            ("ms", "no number"),
            ("", "no number"),
            ("1e400ms", "unknown unit"),
            ("0.0000000001ns", "above zero"),
            ("100000min", "more than a day"),
        ] {
            let message = time(text).expect_err(text);
            assert!(message.contains(wanted), "{text}: {message}");
        }
        assert!(size("0.1B").is_err() && size("9999999999GB").is_err() && size("4mb").is_err());
        assert!(points("0") == Ok(0.0) && points("-1").is_err() && points("nan").is_err());
        assert!(positive("0").is_err() && positive("nan").is_err() && positive("inf").is_err());
    }

    #[test]
    fn shown_with_three_digits() {
        assert_eq!(show_time(1.2345), "1.23 ms");
        assert_eq!(show_time(0.8454), "845 us");
        assert_eq!(show_time(12_345.0), "12.3 s");
        assert_eq!(show_seconds(365.0), "6 min 05 s");
        assert_eq!(show_size(256_000), "256 kB");
        assert_eq!(show_size(1_048_576), "1.05 MB");
        assert_eq!(show_count(999_900), "1.00 M");
        assert_eq!(show_count(850), "850");
    }
}
