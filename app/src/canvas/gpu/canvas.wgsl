// Draws the canvas into one pane: a picture, the regions above it, and nothing beyond the canvas edge.
// All colours are gamma-encoded sRGB, as egui's are; blending happens there, too, as in other paint programs.

struct Pane {
    // Columns of the matrix from framebuffer pixels to canvas pixels, and the canvas point of pixel (0, 0).
    matrix: vec4<f32>,
    origin: vec2<f32>,
    canvas_size: vec2<f32>,
    // Canvas pixels per framebuffer pixel.
    scale: f32,
    overlay_opacity: f32,
    // 0 the picture, 1 masks alone, 2 the background picture.
    layer: u32,
    // 0 filled, 1 outlines only, 2 off.
    overlay: u32,
    // Bits: 1 a frame is there, 2 a background picture is there, 4 hatched, 8 the target expects linear light.
    flags: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
};

@group(0) @binding(0) var<uniform> pane: Pane;
@group(0) @binding(1) var smooth_sampler: sampler;
@group(0) @binding(2) var frame: texture_2d<f32>;
@group(0) @binding(3) var background: texture_2d<f32>;
// Region colours one over the other, premultiplied.
@group(0) @binding(4) var regions: texture_2d<f32>;
// Red: number of the front region (0 none); green: coverage of the active region.
@group(0) @binding(5) var marks: texture_2d<f32>;

@vertex
fn vertex(@builtin(vertex_index) index: u32) -> @builtin(position) vec4<f32> {
    // One triangle that covers the pane.
    let corner = vec2<f32>(f32((index << 1u) & 2u), f32(index & 2u));
    return vec4<f32>(corner * 2.0 - 1.0, 0.0, 1.0);
}

fn clamped_texel(position: vec2<f32>, size: vec2<u32>) -> vec2<i32> {
    return clamp(vec2<i32>(floor(position)), vec2<i32>(0), vec2<i32>(size) - 1);
}

// A picture stretched over the canvas: pixels stay visible above 200 %, small zooms average what a pixel covers.
fn sampled(picture: texture_2d<f32>, point: vec2<f32>) -> vec4<f32> {
    let size = textureDimensions(picture);
    let at = point / pane.canvas_size;
    if pane.scale < 0.499 {
        return textureLoad(picture, clamped_texel(at * vec2<f32>(size), size), 0);
    }
    let taps = clamp(i32(ceil(pane.scale / 2.0)), 1, 6);
    if taps == 1 {
        return textureSampleLevel(picture, smooth_sampler, at, 0.0);
    }
    var sum = vec4<f32>(0.0);
    for (var y = 0; y < taps; y++) {
        for (var x = 0; x < taps; x++) {
            let offset = ((vec2<f32>(f32(x), f32(y)) + 0.5) / f32(taps) - 0.5) * pane.scale;
            sum += textureSampleLevel(picture, smooth_sampler, (point + offset) / pane.canvas_size, 0.0);
        }
    }
    return sum / f32(taps * taps);
}

fn region_number(point: vec2<f32>) -> u32 {
    let size = textureDimensions(marks);
    if any(point < vec2<f32>(0.0)) || any(point >= vec2<f32>(size)) {
        return 0u;
    }
    return u32(textureLoad(marks, vec2<i32>(point), 0).r * 255.0 + 0.5);
}

// Grey squares, fixed to the screen, where a picture is transparent.
fn checker(position: vec2<f32>) -> vec3<f32> {
    let square = (u32(position.x) / 8u + u32(position.y) / 8u) % 2u;
    return vec3<f32>(select(0.78, 0.9, square == 0u));
}

fn flattened(colour: vec4<f32>, position: vec2<f32>) -> vec3<f32> {
    return mix(checker(position), colour.rgb, colour.a);
}

// What lies under the regions.
fn picture_at(point: vec2<f32>, position: vec2<f32>) -> vec3<f32> {
    if pane.layer == 0u && (pane.flags & 1u) != 0u {
        return flattened(sampled(frame, point), position);
    }
    if pane.layer != 1u && (pane.flags & 2u) != 0u {
        return flattened(sampled(background, point), position);
    }
    return vec3<f32>(1.0);
}

// Lines whose direction and distance tell regions apart without colour; 0 to 1.
fn hatch(number: u32, point: vec2<f32>) -> f32 {
    let place = point / pane.scale;
    var along = place.x;
    switch number % 4u {
        case 0u: { along = place.x - place.y; }
        case 1u: { along = place.x + place.y; }
        case 2u: { along = place.y * 1.414; }
        default: { along = place.x * 1.414; }
    }
    let distance = select(11.0, 17.0, (number / 4u) % 2u == 1u);
    let stripe = abs(fract(along / distance) - 0.5) * distance;
    return clamp(2.6 - stripe, 0.0, 1.0);
}

// Colour and strength of the line around the front region; a dark rim keeps it visible on any picture.
fn outline_at(point: vec2<f32>) -> vec4<f32> {
    let here = region_number(point);
    var is_edge = false;
    var is_rim = false;
    for (var i = 0; i < 8; i++) {
        let angle = f32(i) * 0.785398;
        let direction = vec2<f32>(cos(angle), sin(angle)) * pane.scale;
        is_edge = is_edge || region_number(point + direction * 1.5) != here;
        is_rim = is_rim || region_number(point + direction * 2.5) != here;
    }
    if here != 0u && is_edge {
        let colour = textureLoad(regions, vec2<i32>(point), 0);
        return vec4<f32>(colour.rgb / max(colour.a, 0.01), 1.0);
    }
    return select(vec4<f32>(0.0), vec4<f32>(0.0, 0.0, 0.0, 0.45), is_rim);
}

fn linear_from_gamma(colour: vec3<f32>) -> vec3<f32> {
    let low = colour / 12.92;
    let high = pow((colour + 0.055) / 1.055, vec3<f32>(2.4));
    return select(high, low, colour < vec3<f32>(0.04045));
}

@fragment
fn fragment(@builtin(position) position: vec4<f32>) -> @location(0) vec4<f32> {
    let point = pane.origin + pane.matrix.xy * position.x + pane.matrix.zw * position.y;
    // Before any branch, because neighbouring pixels must agree to take a difference.
    let chosen = textureSampleLevel(marks, smooth_sampler, point / pane.canvas_size, 0.0).g;
    let chosen_slope = max(fwidth(chosen), 0.0001);

    let beyond = max(-point, point - pane.canvas_size);
    let outside = max(beyond.x, beyond.y) / pane.scale;
    if outside >= 0.0 {
        // A soft shadow lifts the canvas off the workspace.
        return vec4<f32>(0.0, 0.0, 0.0, 0.35 * clamp(1.0 - outside / 6.0, 0.0, 1.0));
    }

    var colour = picture_at(point, position.xy);
    let mode = select(pane.overlay, 0u, pane.layer == 1u);
    let opacity = select(pane.overlay_opacity, 1.0, pane.layer == 1u);
    if mode == 0u {
        var region = sampled(regions, point) * opacity;
        if (pane.flags & 4u) != 0u {
            region *= mix(0.45, 1.0, hatch(region_number(point), point));
        }
        colour = colour * (1.0 - region.a) + region.rgb;
    } else if mode == 1u {
        let line = outline_at(point);
        colour = mix(colour, line.rgb, line.a);
    }
    if mode != 2u && pane.layer != 1u {
        // Dashes around the active region, where half of it is covered.
        let distance = abs(chosen - 0.5) / chosen_slope;
        let dash = fract((position.x + position.y) / 10.0) < 0.5;
        colour = mix(colour, vec3<f32>(select(0.05, 1.0, dash)), clamp(1.4 - distance, 0.0, 1.0));
    }
    if (pane.flags & 8u) != 0u {
        colour = linear_from_gamma(colour);
    }
    return vec4<f32>(colour, 1.0);
}
