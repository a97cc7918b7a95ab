//! The canvas on the graphics card; the only code that knows wgpu.
//!
//! [`install`] puts pipeline and textures into egui's renderer once. Each frame, [`pane_shape`] gives a shape for
//! egui to draw; just before drawing, the shape uploads what changed: a new frame as a whole, the overlay tile by
//! tile. Textures are made once and updated in place; they are made anew only when the canvas size changes.

use std::{num::NonZeroU64, sync::Arc};

use eframe::{
    egui::{PaintCallbackInfo, Shape},
    egui_wgpu::{Callback, CallbackResources, CallbackTrait, RenderState, ScreenDescriptor},
};
use parking_lot::Mutex;
use wordbrush_engine::api::{CanvasSize, Picture};

use super::{
    display::{Layer, OverlayMode},
    overlay::Overlay,
    view::Placement,
};

/// At most two panes are drawn at once.
const PANES: usize = 2;
/// Bytes from one pane's uniforms to the next; no card asks for a wider alignment.
const PANE_STRIDE: u64 = 256;

/// Proof that the renderer can draw panes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Installed {
    is_target_linear: bool,
    largest_side: u32,
}

impl Installed {
    /// Whether a canvas of this size fits into a texture.
    pub(super) fn can_show(self, size: CanvasSize) -> bool {
        size.width().max(size.height()) <= self.largest_side
    }
}

/// Prepares egui's renderer for drawing the canvas.
pub(super) fn install(render_state: &RenderState) -> Installed {
    let canvas = CanvasResources::new(&render_state.device, render_state.target_format);
    render_state.renderer.write().callback_resources.insert(canvas);
    Installed {
        is_target_linear: render_state.target_format.is_srgb(),
        largest_side: render_state.device.limits().max_texture_dimension_2d,
    }
}

/// What a pane shows.
#[derive(Clone, Debug)]
pub(super) struct PaneContent {
    pub(super) layer: Layer,
    pub(super) overlay_mode: OverlayMode,
    pub(super) overlay_opacity: f32,
    pub(super) is_hatched: bool,
    pub(super) frame: Option<Picture>,
    pub(super) background: Option<Picture>,
}

/// A shape that draws the canvas into `clip`, a part of the placement's rectangle, when egui gets to it.
pub(super) fn pane_shape(
    installed: Installed,
    pane: usize,
    placement: &Placement,
    clip: eframe::egui::Rect,
    canvas: CanvasSize,
    content: PaneContent,
    overlay: Arc<Mutex<Overlay>>,
) -> Shape {
    let scale = placement.pixels_per_point;
    let [a, b] = placement.inverse();
    let origin = placement.canvas_from_screen(eframe::egui::Pos2::ZERO);
    let flag = |is_set: bool, bit: u32| if is_set { bit } else { 0 };
    let uniforms = PaneUniforms {
        matrix: [a.x / scale, a.y / scale, b.x / scale, b.y / scale],
        origin,
        canvas_size: [canvas.width() as f32, canvas.height() as f32],
        scale: 1.0 / (placement.points_per_pixel() * scale),
        overlay_opacity: content.overlay_opacity.clamp(0.0, 1.0),
        layer: match content.layer {
            Layer::Result => 0,
            Layer::Masks => 1,
            Layer::Background => 2,
        },
        overlay: match content.overlay_mode {
            OverlayMode::Filled => 0,
            OverlayMode::Outlines => 1,
            OverlayMode::Off => 2,
        },
        flags: flag(content.frame.is_some(), 1)
            | flag(content.background.is_some(), 2)
            | flag(content.is_hatched, 4)
            | flag(installed.is_target_linear, 8),
        padding: [0; 3],
    };
    let callback = PaneCallback {
        pane: pane.min(PANES - 1),
        uniforms,
        frame: content.frame,
        background: content.background,
        overlay,
    };
    Shape::Callback(Callback::new_paint_callback(clip, callback))
}

/// The uniform block of `canvas.wgsl`.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct PaneUniforms {
    matrix: [f32; 4],
    origin: [f32; 2],
    canvas_size: [f32; 2],
    scale: f32,
    overlay_opacity: f32,
    layer: u32,
    overlay: u32,
    flags: u32,
    padding: [u32; 3],
}

struct PaneCallback {
    pane: usize,
    uniforms: PaneUniforms,
    frame: Option<Picture>,
    background: Option<Picture>,
    overlay: Arc<Mutex<Overlay>>,
}

impl CallbackTrait for PaneCallback {
    fn prepare(
        &self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        _screen: &ScreenDescriptor,
        _encoder: &mut wgpu::CommandEncoder,
        resources: &mut CallbackResources,
    ) -> Vec<wgpu::CommandBuffer> {
        if let Some(canvas) = resources.get_mut::<CanvasResources>() {
            let is_remade = canvas.frame.show(device, queue, self.frame.as_ref())
                | canvas.background.show(device, queue, self.background.as_ref())
                | canvas.regions.bring_up_to_date(device, queue, &self.overlay);
            if is_remade || canvas.bind_group.is_none() {
                canvas.bind(device);
            }
            let place = self.pane as u64 * PANE_STRIDE;
            queue.write_buffer(&canvas.uniforms, place, bytemuck::bytes_of(&self.uniforms));
        }
        Vec::new()
    }

    fn paint(
        &self,
        _info: PaintCallbackInfo,
        render_pass: &mut wgpu::RenderPass<'static>,
        resources: &CallbackResources,
    ) {
        let Some(canvas) = resources.get::<CanvasResources>() else {
            return;
        };
        if let Some(bind_group) = &canvas.bind_group {
            render_pass.set_pipeline(&canvas.pipeline);
            render_pass.set_bind_group(0, bind_group, &[self.pane as u32 * PANE_STRIDE as u32]);
            render_pass.draw(0..3, 0..1);
        }
    }
}

/// Everything that lives on the graphics card.
struct CanvasResources {
    pipeline: wgpu::RenderPipeline,
    layout: wgpu::BindGroupLayout,
    sampler: wgpu::Sampler,
    /// The blocks of all panes, [`PANE_STRIDE`] apart.
    uniforms: wgpu::Buffer,
    /// Of the textures as they are now; made anew only with one of them.
    bind_group: Option<wgpu::BindGroup>,
    frame: PictureTexture,
    background: PictureTexture,
    regions: OverlayTextures,
}

impl CanvasResources {
    fn new(device: &wgpu::Device, target_format: wgpu::TextureFormat) -> Self {
        let shader = device.create_shader_module(wgpu::include_wgsl!("canvas.wgsl"));
        let layout = bind_group_layout(device);
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("canvas"),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some("canvas"),
            layout: Some(&pipeline_layout),
            vertex: wgpu::VertexState {
                module: &shader,
                entry_point: Some("vertex"),
                buffers: &[],
                compilation_options: wgpu::PipelineCompilationOptions::default(),
            },
            fragment: Some(wgpu::FragmentState {
                module: &shader,
                entry_point: Some("fragment"),
                targets: &[Some(wgpu::ColorTargetState {
                    format: target_format,
                    blend: Some(wgpu::BlendState::PREMULTIPLIED_ALPHA_BLENDING),
                    write_mask: wgpu::ColorWrites::ALL,
                })],
                compilation_options: wgpu::PipelineCompilationOptions::default(),
            }),
            primitive: wgpu::PrimitiveState::default(),
            depth_stencil: None,
            multisample: wgpu::MultisampleState::default(),
            multiview_mask: None,
            cache: None,
        });
        let sampler = device.create_sampler(&wgpu::SamplerDescriptor {
            label: Some("canvas"),
            mag_filter: wgpu::FilterMode::Linear,
            min_filter: wgpu::FilterMode::Linear,
            ..wgpu::SamplerDescriptor::default()
        });
        let uniforms = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("canvas panes"),
            size: PANES as u64 * PANE_STRIDE,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self {
            pipeline,
            layout,
            sampler,
            uniforms,
            bind_group: None,
            frame: PictureTexture::new(device, "frame"),
            background: PictureTexture::new(device, "background"),
            regions: OverlayTextures::new(device),
        }
    }

    fn bind(&mut self, device: &wgpu::Device) {
        let textures = [
            &self.frame.texture,
            &self.background.texture,
            &self.regions.colours,
            &self.regions.marks,
        ];
        let views = textures.map(|texture| texture.create_view(&wgpu::TextureViewDescriptor::default()));
        let texture_entry = |index: usize| wgpu::BindGroupEntry {
            binding: 2 + index as u32,
            resource: wgpu::BindingResource::TextureView(&views[index]),
        };
        self.bind_group = Some(device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("canvas"),
            layout: &self.layout,
            entries: &[
                wgpu::BindGroupEntry {
                    binding: 0,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: &self.uniforms,
                        offset: 0,
                        size: pane_size(),
                    }),
                },
                wgpu::BindGroupEntry {
                    binding: 1,
                    resource: wgpu::BindingResource::Sampler(&self.sampler),
                },
                texture_entry(0),
                texture_entry(1),
                texture_entry(2),
                texture_entry(3),
            ],
        }));
    }
}

fn pane_size() -> Option<NonZeroU64> {
    NonZeroU64::new(size_of::<PaneUniforms>() as u64)
}

fn bind_group_layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::FRAGMENT,
        ty,
        count: None,
    };
    let texture = wgpu::BindingType::Texture {
        sample_type: wgpu::TextureSampleType::Float { filterable: true },
        view_dimension: wgpu::TextureViewDimension::D2,
        multisampled: false,
    };
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("canvas"),
        entries: &[
            wgpu::BindGroupLayoutEntry {
                visibility: wgpu::ShaderStages::VERTEX,
                ..entry(
                    0,
                    wgpu::BindingType::Buffer {
                        ty: wgpu::BufferBindingType::Uniform,
                        has_dynamic_offset: true,
                        min_binding_size: pane_size(),
                    },
                )
            },
            entry(1, wgpu::BindingType::Sampler(wgpu::SamplerBindingType::Filtering)),
            entry(2, texture),
            entry(3, texture),
            entry(4, texture),
            entry(5, texture),
        ],
    })
}

/// A picture that is uploaded as a whole when it is another one.
struct PictureTexture {
    label: &'static str,
    texture: wgpu::Texture,
    shown: Option<Picture>,
}

impl PictureTexture {
    fn new(device: &wgpu::Device, label: &'static str) -> Self {
        Self {
            label,
            texture: texture(device, label, (1, 1), wgpu::TextureFormat::Rgba8Unorm),
            shown: None,
        }
    }

    /// Uploads another picture; returns whether that took another texture.
    fn show(&mut self, device: &wgpu::Device, queue: &wgpu::Queue, picture: Option<&Picture>) -> bool {
        let Some(picture) = picture else {
            // What is not shown any more takes no room on the card.
            let had_one = self.shown.is_some();
            if had_one {
                *self = Self::new(device, self.label);
            }
            return had_one;
        };
        if self.shown.as_ref().is_some_and(|shown| shown.is_same(picture)) {
            return false;
        }
        let size = <(u32, u32)>::from(picture.size());
        if size.0.max(size.1) > device.limits().max_texture_dimension_2d {
            tracing::warn!(?size, "the picture is too large for the graphics card");
            self.shown = Some(picture.clone());
            return false;
        }
        let is_other_size = (self.texture.width(), self.texture.height()) != size;
        if is_other_size {
            self.texture = texture(device, self.label, size, wgpu::TextureFormat::Rgba8Unorm);
        }
        write_texture(queue, &self.texture, (0, 0), size, picture.rgba());
        self.shown = Some(picture.clone());
        is_other_size
    }
}

/// The overlay, uploaded by the tiles that changed.
struct OverlayTextures {
    colours: wgpu::Texture,
    marks: wgpu::Texture,
}

impl OverlayTextures {
    fn new(device: &wgpu::Device) -> Self {
        Self::with_size(device, (1, 1))
    }

    fn with_size(device: &wgpu::Device, size: (u32, u32)) -> Self {
        Self {
            colours: texture(device, "regions", size, wgpu::TextureFormat::Rgba8Unorm),
            marks: texture(device, "region marks", size, wgpu::TextureFormat::Rgba8Unorm),
        }
    }

    /// Uploads what changed; returns whether that took other textures.
    fn bring_up_to_date(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        overlay: &Mutex<Overlay>,
    ) -> bool {
        let mut overlay = overlay.lock();
        let size = <(u32, u32)>::from(overlay.size());
        let is_other_size = (self.colours.width(), self.colours.height()) != size;
        if is_other_size {
            *self = Self::with_size(device, size);
            overlay.mark_all();
        }
        for patch in overlay.take_patches() {
            let (corner, size) = (
                (patch.rect.x0, patch.rect.y0),
                (patch.rect.width(), patch.rect.height()),
            );
            write_texture(queue, &self.colours, corner, size, &patch.rgba);
            write_texture(queue, &self.marks, corner, size, &patch.marks);
        }
        is_other_size
    }
}

fn texture(
    device: &wgpu::Device,
    label: &str,
    (width, height): (u32, u32),
    format: wgpu::TextureFormat,
) -> wgpu::Texture {
    device.create_texture(&wgpu::TextureDescriptor {
        label: Some(label),
        size: extent((width, height)),
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
        view_formats: &[],
    })
}

fn write_texture(
    queue: &wgpu::Queue,
    texture: &wgpu::Texture,
    (x, y): (u32, u32),
    size: (u32, u32),
    bytes: &[u8],
) {
    queue.write_texture(
        wgpu::TexelCopyTextureInfo {
            texture,
            mip_level: 0,
            origin: wgpu::Origin3d { x, y, z: 0 },
            aspect: wgpu::TextureAspect::All,
        },
        bytes,
        wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(bytes.len() as u32 / size.1),
            rows_per_image: Some(size.1),
        },
        extent(size),
    );
}

fn extent((width, height): (u32, u32)) -> wgpu::Extent3d {
    wgpu::Extent3d {
        width,
        height,
        depth_or_array_layers: 1,
    }
}

#[cfg(test)]
mod tests {
    /// See the shader: where fragments branch on a uniform, some software drivers keep megabytes of every frame.
    #[test]
    fn only_the_vertices_read_the_uniforms() {
        let source = include_str!("canvas.wgsl");
        let begin = source.find("@vertex").expect("there is a vertex shader");
        let end = begin + source[begin..].find("\n}\n").expect("it ends");
        let is_used = |part: &str| part.contains("given.");
        assert!(is_used(&source[begin..end]));
        assert!(!is_used(&source[..begin]) && !is_used(&source[end..]));
        assert_eq!(source.matches("var<uniform>").count(), 1);
    }
}
