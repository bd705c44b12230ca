//! A model file whose checksum is right again after its bytes were changed.

use serde_json::Value;
use squeeze_kernels::crc64::Crc64;

/// The same file with the checksum of its content (`squeeze-formats/src/model.rs` says what it is over); nothing where the bytes are no safetensors.
pub fn sealed(bytes: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (header, data) = rest.split_at_checked(length)?;
    let Value::Object(mut header) = serde_json::from_slice(header).ok()? else {
        return None;
    };
    let mut sum = Crc64::default();
    let mut add = |bytes: &[u8]| {
        sum.add(&(bytes.len() as u64).to_le_bytes());
        sum.add(bytes);
    };
    let metadata = header.get_mut("__metadata__")?.as_object_mut()?;
    metadata.remove("checksum");
    for (key, value) in &*metadata {
        add(key.as_bytes());
        add(value.as_str()?.as_bytes());
    }
    // Rows of these have checksums of their own.
    let rows = metadata.get("rows").and_then(Value::as_str);
    let rows = rows.and_then(|text| serde_json::from_str(text).ok());
    let rows: Value = rows.unwrap_or_default();
    for (name, tensor) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        add(name.as_bytes());
        add(tensor["dtype"].as_str()?.as_bytes());
        let sizes = tensor["shape"].as_array()?.iter().map(Value::as_u64);
        let shape: Vec<u64> = sizes.collect::<Option<_>>()?;
        add(format!("{shape:?}").as_bytes());
        let place = |at: usize| usize::try_from(tensor["data_offsets"][at].as_u64()?).ok();
        let elements = data.get(place(0)?..place(1)?)?;
        if rows.get(name).is_none() {
            add(elements);
        }
    }
    let sum = format!("{:016x}", sum.sum());
    header["__metadata__"]["checksum"] = sum.into();
    let mut text = Value::Object(header).to_string();
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    Some([&(text.len() as u64).to_le_bytes(), text.as_bytes(), data].concat())
}
