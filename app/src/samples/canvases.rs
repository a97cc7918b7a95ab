//! The gallery's canvases.

use super::{Sample, SampleRegion, shapes::Shape};

const EVERYWHERE: Shape = Shape::Rectangle {
    x0: 0.0,
    y0: 0.0,
    x1: 1.0,
    y1: 1.0,
};

const fn ellipse(x: f32, y: f32, rx: f32, ry: f32) -> Shape {
    Shape::Ellipse { x, y, rx, ry }
}

const fn region(name: &'static str, prompt: &'static str, shape: Shape, softness_px: f32) -> SampleRegion {
    SampleRegion {
        name,
        prompt,
        shape,
        softness_px,
    }
}

/// The gallery; the first is shown at the first start.
pub const SAMPLES: &[Sample] = &[
    Sample {
        name: "Meadow",
        teaches: "Land, sky and things: where regions overlap, the front one wins.",
        picture: include_bytes!("../../../assets/samples/meadow.jpg"),
        seed: 4,
        regions: &[
            region("Sky", "blue sky", Shape::Above { y: 0.62, wave: 0.02 }, 8.0),
            region("Meadow", "grass", Shape::Below { y: 0.58, wave: 0.035 }, 8.0),
            region("House", "house", ellipse(0.67, 0.54, 0.23, 0.25), 8.0),
            region("Tree", "tree", ellipse(0.26, 0.48, 0.21, 0.32), 8.0),
        ],
    },
    Sample {
        name: "Harbour",
        teaches: "Try another prompt for the sky: sunset, night sky, clouds.",
        picture: include_bytes!("../../../assets/samples/harbour.jpg"),
        seed: 2,
        regions: &[
            region("Sky", "sunset", Shape::Above { y: 0.52, wave: 0.0 }, 8.0),
            region("Sea", "sea", Shape::Below { y: 0.5, wave: 0.012 }, 8.0),
            region("Boat", "boat", ellipse(0.36, 0.48, 0.2, 0.26), 8.0),
        ],
    },
    Sample {
        name: "Winter night",
        teaches: "Edge softness: see how far the snow melts into the sky.",
        picture: include_bytes!("../../../assets/samples/winter-night.jpg"),
        seed: 11,
        regions: &[
            region("Night", "night sky", Shape::Above { y: 0.6, wave: 0.03 }, 8.0),
            region("Snow", "snow", Shape::Below { y: 0.56, wave: 0.05 }, 8.0),
            region("Moon", "crescent moon", ellipse(0.82, 0.18, 0.1, 0.13), 8.0),
            region("Pine tree", "pine tree", ellipse(0.2, 0.5, 0.16, 0.3), 8.0),
            region("Snowman", "snowman", ellipse(0.62, 0.6, 0.17, 0.27), 8.0),
        ],
    },
    Sample {
        name: "Castle",
        teaches: "Seeds: select the castle and reroll it alone, with the dice.",
        picture: include_bytes!("../../../assets/samples/castle.jpg"),
        seed: 10,
        regions: &[
            region("Sky", "clouds", Shape::Above { y: 0.5, wave: 0.03 }, 8.0),
            region("Hills", "hills", Shape::Below { y: 0.48, wave: 0.06 }, 8.0),
            region("Rainbow", "rainbow", ellipse(0.28, 0.3, 0.22, 0.2), 8.0),
            region("Castle", "castle", ellipse(0.62, 0.46, 0.24, 0.32), 8.0),
        ],
    },
    Sample {
        name: "Still life",
        teaches: "Objects on a table: repaint a mask, and its picture follows.",
        picture: include_bytes!("../../../assets/samples/still-life.jpg"),
        seed: 4,
        regions: &[
            region("Wall", "teal paper", Shape::Above { y: 0.66, wave: 0.0 }, 8.0),
            region("Table", "wood", Shape::Below { y: 0.64, wave: 0.0 }, 4.0),
            region("Apple", "red apple", ellipse(0.24, 0.56, 0.16, 0.21), 8.0),
            region("Lemon", "lemon", ellipse(0.76, 0.62, 0.14, 0.17), 8.0),
            region("Flower", "pink flower", ellipse(0.5, 0.42, 0.17, 0.3), 8.0),
        ],
    },
    Sample {
        name: "Forest floor",
        teaches: "Reroll one region only: the mushroom changes, the forest stays.",
        picture: include_bytes!("../../../assets/samples/forest-floor.jpg"),
        seed: 3,
        regions: &[
            region("Forest", "forest", Shape::Above { y: 0.7, wave: 0.03 }, 8.0),
            region("Moss", "moss", Shape::Below { y: 0.62, wave: 0.04 }, 8.0),
            region("Mushroom", "mushroom", ellipse(0.34, 0.58, 0.19, 0.27), 8.0),
            region("Fox", "fox", ellipse(0.74, 0.6, 0.16, 0.24), 8.0),
        ],
    },
    Sample {
        name: "Balloons",
        teaches: "Colours in prompts: red, teal, purple. Duplicate one with Ctrl+J.",
        picture: include_bytes!("../../../assets/samples/balloons.jpg"),
        seed: 6,
        regions: &[
            region("Sky", "blue sky", EVERYWHERE, 0.0),
            region(
                "Hot air balloon",
                "hot air balloon",
                ellipse(0.3, 0.44, 0.2, 0.34),
                4.0,
            ),
            region(
                "Purple balloon",
                "purple balloon",
                ellipse(0.66, 0.32, 0.13, 0.24),
                4.0,
            ),
            region(
                "Teal balloon",
                "teal balloon",
                ellipse(0.84, 0.62, 0.12, 0.22),
                4.0,
            ),
        ],
    },
    Sample {
        name: "Aquarium",
        teaches: "One region over everything, and small things above it.",
        picture: include_bytes!("../../../assets/samples/aquarium.jpg"),
        seed: 3,
        regions: &[
            region("Water", "water", EVERYWHERE, 0.0),
            region("Sand", "sand", Shape::Below { y: 0.82, wave: 0.03 }, 8.0),
            region("Orange fish", "orange fish", ellipse(0.3, 0.4, 0.2, 0.2), 8.0),
            region("Turtle", "turtle", ellipse(0.72, 0.32, 0.17, 0.2), 8.0),
            region("Crab", "crab", ellipse(0.62, 0.78, 0.14, 0.17), 8.0),
        ],
    },
    Sample {
        name: "Deep space",
        teaches: "Dream mode: the infinity sign keeps every frame changing.",
        picture: include_bytes!("../../../assets/samples/deep-space.jpg"),
        seed: 8,
        regions: &[
            region("Galaxy", "galaxy", EVERYWHERE, 0.0),
            region("Planet", "planet", ellipse(0.24, 0.34, 0.18, 0.22), 8.0),
            region("Rocket", "rocket", ellipse(0.6, 0.52, 0.2, 0.34), 8.0),
            region("UFO", "ufo", ellipse(0.86, 0.22, 0.12, 0.14), 8.0),
        ],
    },
    Sample {
        name: "Desert",
        teaches: "Duplicate the cactus with Ctrl+J and change the words of one.",
        picture: include_bytes!("../../../assets/samples/desert.jpg"),
        seed: 5,
        regions: &[
            region("Sky", "blue sky", Shape::Above { y: 0.52, wave: 0.01 }, 8.0),
            region("Desert", "desert", Shape::Below { y: 0.5, wave: 0.04 }, 8.0),
            region("Sun", "sun", ellipse(0.8, 0.2, 0.12, 0.15), 8.0),
            region("Cactus", "cactus", ellipse(0.28, 0.52, 0.18, 0.32), 8.0),
        ],
    },
    Sample {
        name: "Party",
        teaches: "Patterns are materials too: polka dots, stripes, checkerboard.",
        picture: include_bytes!("../../../assets/samples/party.jpg"),
        seed: 4,
        regions: &[
            region("Wall", "polka dots", Shape::Above { y: 0.7, wave: 0.0 }, 8.0),
            region("Floor", "wood", Shape::Below { y: 0.68, wave: 0.0 }, 4.0),
            region("Cupcake", "cupcake", ellipse(0.5, 0.6, 0.2, 0.26), 8.0),
            region("Gift", "gift", ellipse(0.2, 0.68, 0.14, 0.18), 8.0),
            region("Balloon", "red balloon", ellipse(0.82, 0.34, 0.13, 0.26), 8.0),
        ],
    },
    Sample {
        name: "Lava gate",
        teaches: "Materials: any material can fill any shape.",
        picture: include_bytes!("../../../assets/samples/lava-gate.jpg"),
        seed: 3,
        regions: &[
            region("Wall", "brick wall", EVERYWHERE, 0.0),
            region(
                "Gate",
                "night sky",
                Shape::Arch {
                    x: 0.5,
                    y: 1.0,
                    width: 0.46,
                    height: 0.78,
                },
                4.0,
            ),
            region("Lava", "lava", Shape::Below { y: 0.82, wave: 0.03 }, 8.0),
        ],
    },
];
