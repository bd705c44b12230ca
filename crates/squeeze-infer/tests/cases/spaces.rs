//! Networks of the search spaces, every choice of every slot at least once, and their references.

use squeeze_graph::{Graph, Space};
use squeeze_zoo::{ImageSpace, TextSpace, image, image_references, text, text_references};

/// Small spaces' networks with all first choices, all second choices, and so on.
pub fn networks() -> Vec<Graph> {
    let texts = TextSpace::presets(7, 9, 3).remove(0);
    let pairs = TextSpace {
        pair: true,
        ..texts.clone()
    };
    let images = ImageSpace::presets(1, 14, 3).remove(0);
    let mut networks = vec![];
    for row in [texts, pairs] {
        networks.extend(resolved(&text(&row).expect("a preset")));
        networks.extend(text_references(&row).expect("a preset"));
    }
    networks.extend(resolved(&image(&images).expect("a preset")));
    networks.extend(image_references(&images).expect("a preset"));
    networks
}

fn resolved(space: &Space) -> Vec<Graph> {
    let most = space.slots().iter().map(|slot| slot.choices().len());
    let picks = |nth: usize| -> Vec<usize> {
        let slots = space.slots().iter();
        slots.map(|slot| nth % slot.choices().len()).collect()
    };
    (0..most.max().unwrap_or(1))
        .map(|nth| space.resolve(&picks(nth)).expect("valid picks"))
        .collect()
}
