//! The winner in numbers and in bytes.

use super::markup::{Table, percent};
use crate::record::Form;
use crate::units::{show_size, show_time};

/// A row a precision; nothing where only one was measured.
pub fn table(forms: &[Form]) -> String {
    if forms.len() < 2 {
        return String::new();
    }
    let mut table = Table::new(&[
        "products of",
        "accuracy on validation",
        "p50",
        "p90",
        "working memory",
        "weights",
        "exported",
    ]);
    for form in forms {
        table.row(&[
            &form.precision,
            &percent(form.accuracy),
            &show_time(form.timing.p50_ms),
            &show_time(form.timing.p90_ms),
            &show_size(form.peak_bytes),
            &show_size(form.weight_bytes),
            if form.is_exported { "yes" } else { "no" },
        ]);
    }
    table.html_after(
        "<p>The trained network, and the same in bytes without further training, measured in interleaved rounds. Bytes are exported where \
         they meet the limits and single precision does not, or where they are quicker beyond the noise and at most as much less accurate \
         as was asked for.</p>",
    )
}
