//! A picture with boxes around what was found in it, as SVG that holds the picture itself.

use std::fmt::Write;

use squeeze_data::{Detection, Image};

use crate::report::escape;

/// The picture of a PNG or JPEG file's bytes, which are `image`, with a box and a name for each object.
pub fn drawn(file: &[u8], image: &Image, found: &[Detection], labels: &[String]) -> String {
    let (width, height) = (image.width, image.height);
    let longest = width.max(height) as f32;
    let (line, letter) = (longest / 250.0, longest / 35.0);
    let kind = match file {
        [0xff, 0xd8, ..] => "jpeg",
        _ => "png",
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"{letter}\">\n\
         <image width=\"{width}\" height=\"{height}\" style=\"image-orientation: from-image\" href=\"data:image/{kind};base64,{}\"/>\n",
        base64(file)
    );
    // The surest lies on top.
    for one in found.iter().rev() {
        let [x0, y0, x1, y1] = one.corners;
        let (w, h) = (x1 - x0, y1 - y0);
        let colour = format!("hsl({}, 90%, 40%)", one.class * 47 % 360);
        let name = escape(&labels[one.class]);
        let text = [x0 + line, (y0 - line).max(letter)];
        writeln!(
            svg,
            "<rect x=\"{x0}\" y=\"{y0}\" width=\"{w}\" height=\"{h}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{line}\"/>\n\
             <text x=\"{}\" y=\"{}\" fill=\"{colour}\" stroke=\"white\" stroke-width=\"{line}\" paint-order=\"stroke\">{name} {:.2}</text>",
            text[0], text[1], one.score
        )
        .expect("a string takes it");
    }
    svg + "</svg>\n"
}

/// Three bytes as four letters (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at)) as usize & 63];
            text.push(if at > three.len() {
                '='
            } else {
                char::from(letter)
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 4648.
    #[test]
    fn letters_are_those_of_the_standard() {
        let pairs = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, text) in pairs {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn names_cannot_break_out() {
        let image = Image {
            height: 10,
            width: 20,
            channels: 1,
            pixels: vec![0; 200],
        };
        let one = Detection {
            class: 1,
            score: 0.75,
            corners: [1.0, 2.0, 11.0, 8.0],
        };
        let labels = ["nothing".to_owned(), "<script>&".to_owned()];
        let svg = drawn(b"\x89PNG", &image, &[one], &labels);
        assert!(svg.contains(">&lt;script&gt;&amp; 0.75</text>"), "{svg}");
        assert!(
            svg.contains("<rect x=\"1\" y=\"2\" width=\"10\" height=\"6\""),
            "{svg}"
        );
        assert!(svg.contains("data:image/png;base64,iVBORw=="), "{svg}");
    }
}
