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

@group(0) @binding(0) var<uniform> given: Pane;
@group(0) @binding(1) var smooth_sampler: sampler;
@group(0) @binding(2) var frame: texture_2d<f32>;
@group(0) @binding(3) var background: texture_2d<f32>;
// Region colours one over the other, premultiplied.
@group(0) @binding(4) var regions: texture_2d<f32>;
// Red: number of the front region (0 none); green: coverage of the active region; blue: coverage of the front
// region; alpha: the most that any region above it covers.
@group(0) @binding(5) var marks: texture_2d<f32>;

// What is given, as the fragments get it: through the vertices. Software drivers (Mesa's lavapipe before 23) make a new
// program for every frame of fragments that branch on a uniform, and keep them all: megabytes for each frame.
struct Corner {
    @builtin(position) position: vec4<f32>,
    @location(0) @interpolate(flat) matrix: vec4<f32>,
    // Origin, canvas size.
    @location(1) @interpolate(flat) place: vec4<f32>,
    // Scale, opacity of the overlay.
    @location(2) @interpolate(flat) amounts: vec2<f32>,
    // Layer, overlay, flags.
    @location(3) @interpolate(flat) modes: vec3<u32>,
};

// This fragment's copy.
var<private> pane: Pane;

@vertex
fn vertex(@builtin(vertex_index) index: u32) -> Corner {
    // One triangle that covers the pane.
    let corner = vec2<f32>(f32((index << 1u) & 2u), f32(index & 2u));
    return Corner(
        vec4<f32>(corner * 2.0 - 1.0, 0.0, 1.0),
        given.matrix,
        vec4<f32>(given.origin, given.canvas_size),
        vec2<f32>(given.scale, given.overlay_opacity),
        vec3<u32>(given.layer, given.overlay, given.flags),
    );
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

// The marks of a canvas pixel; nothing is painted beyond the canvas.
fn mark(pixel: vec2<i32>) -> vec4<f32> {
    if any(pixel < vec2<i32>(0)) || any(pixel >= vec2<i32>(textureDimensions(marks))) {
        return vec4<f32>(0.0);
    }
    return textureLoad(marks, pixel, 0);
}

fn number_of(mark: vec4<f32>) -> u32 {
    return u32(mark.r * 255.0 + 0.5);
}

// How much of a region a pixel tells: its own coverage where it is in front, what peeps through where a lower one is.
fn share_of(number: u32, mark: vec4<f32>) -> f32 {
    let there = number_of(mark);
    if there == number {
        return mark.b;
    }
    return select(1.0, mark.a, there < number);
}

// The front region at a point. Near by, coverage is interpolated between pixels, so that borders are lines and not
// stairs: the topmost of the four pixels' regions that covers half of the point is in front there.
fn region_number(point: vec2<f32>) -> u32 {
    if pane.scale > 0.75 {
        return number_of(mark(vec2<i32>(floor(point))));
    }
    let corner = floor(point - 0.5);
    let part = point - 0.5 - corner;
    let pixel = vec2<i32>(corner);
    let a = mark(pixel);
    let b = mark(pixel + vec2<i32>(1, 0));
    let c = mark(pixel + vec2<i32>(0, 1));
    let d = mark(pixel + vec2<i32>(1, 1));
    let numbers = vec4<u32>(number_of(a), number_of(b), number_of(c), number_of(d));
    if all(numbers == numbers.xxxx) {
        return numbers.x;
    }
    var below = 256u;
    for (var i = 0; i < 4; i++) {
        let lower = select(vec4<u32>(0u), numbers, numbers < vec4<u32>(below));
        let number = max(max(lower.x, lower.y), max(lower.z, lower.w));
        if number == 0u {
            break;
        }
        let top = mix(share_of(number, a), share_of(number, b), part.x);
        let bottom = mix(share_of(number, c), share_of(number, d), part.x);
        if mix(top, bottom, part.y) >= 0.5 {
            return number;
        }
        below = number;
    }
    return 0u;
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
    // How many of the places around belong to another region: the nearer the border, the more.
    var edge = 0.0;
    var rim = 0.0;
    for (var i = 0; i < 8; i++) {
        let angle = f32(i) * 0.785398;
        let direction = vec2<f32>(cos(angle), sin(angle)) * pane.scale;
        edge += f32(region_number(point + direction * 1.5) != here);
        rim += f32(region_number(point + direction * 2.5) != here);
    }
    let shadow = vec4<f32>(0.0, 0.0, 0.0, 0.45 * clamp(rim / 2.0, 0.0, 1.0));
    if here == 0u || edge == 0.0 {
        return shadow;
    }
    // The point may lie over a pixel of the neighbour; the colour is that of a pixel of its own region.
    var pixel = clamped_texel(point, textureDimensions(regions));
    for (var i = 0; i < 4; i++) {
        let near = vec2<i32>(floor(point - 0.5)) + vec2<i32>(i % 2, i / 2);
        if number_of(mark(pixel)) != here && number_of(mark(near)) == here {
            pixel = near;
        }
    }
    let painted = textureLoad(regions, pixel, 0);
    let line = vec4<f32>(painted.rgb / max(painted.a, 0.01), 1.0);
    return mix(shadow, line, clamp(edge / 2.0, 0.0, 1.0));
}

// Coverage of the active region: near by, smoothed over its neighbours (a cubic B-spline by four samples), so that
// the line where it passes one half has no stairs.
fn active_coverage(point: vec2<f32>) -> f32 {
    if pane.scale > 0.75 {
        return textureSampleLevel(marks, smooth_sampler, point / pane.canvas_size, 0.0).g;
    }
    let corner = floor(point - 0.5);
    let t = point - 0.5 - corner;
    let w0 = (1.0 - t) * (1.0 - t) * (1.0 - t) / 6.0;
    let w1 = (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0;
    let w3 = t * t * t / 6.0;
    let near = w0 + w1;
    // Where between two pixels a sample weighs them as the spline does.
    let first = (corner - 0.5 + w1 / near) / pane.canvas_size;
    let second = (corner + 1.5 + w3 / (1.0 - near)) / pane.canvas_size;
    let top = mix(
        textureSampleLevel(marks, smooth_sampler, vec2<f32>(second.x, first.y), 0.0).g,
        textureSampleLevel(marks, smooth_sampler, first, 0.0).g,
        near.x,
    );
    let bottom = mix(
        textureSampleLevel(marks, smooth_sampler, second, 0.0).g,
        textureSampleLevel(marks, smooth_sampler, vec2<f32>(first.x, second.y), 0.0).g,
        near.x,
    );
    return mix(bottom, top, near.y);
}

fn linear_from_gamma(colour: vec3<f32>) -> vec3<f32> {
    let low = colour / 12.92;
    let high = pow((colour + 0.055) / 1.055, vec3<f32>(2.4));
    return select(high, low, colour < vec3<f32>(0.04045));
}

@fragment
fn fragment(corner: Corner) -> @location(0) vec4<f32> {
    pane.matrix = corner.matrix;
    pane.origin = corner.place.xy;
    pane.canvas_size = corner.place.zw;
    pane.scale = corner.amounts.x;
    pane.overlay_opacity = corner.amounts.y;
    pane.layer = corner.modes.x;
    pane.overlay = corner.modes.y;
    pane.flags = corner.modes.z;
    let position = corner.position;
    let point = pane.origin + pane.matrix.xy * position.x + pane.matrix.zw * position.y;
    // Before any branch, because neighbouring pixels must agree to take a difference.
    let chosen = active_coverage(point);
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
