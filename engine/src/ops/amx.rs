//! Matrix tiles of x86-64 (AMX): sixteen by sixteen sums of bf16 products in one instruction.
//!
//! The instructions are written in assembler, since the compiler offers no stable intrinsics. Each routine is one
//! block from clearing the sums to storing them, so that no tile register lives across Rust code.
#![cfg(target_arch = "x86_64")]
use core::arch::asm;
use std::sync::OnceLock;

use half::bf16;

use super::tile::Part;

/// Whether the processor has tiles for bf16 and the system lets this process use them.
pub(crate) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| has_tiles() && ask_permission())
}

fn has_tiles() -> bool {
    let leaf = core::arch::x86_64::__cpuid_count(7, 0);
    let (bf16, tile) = (leaf.edx >> 22 & 1, leaf.edx >> 24 & 1);
    bf16 == 1 && tile == 1
}

/// Linux hands out the large register state on request only, once per process.
#[cfg(target_os = "linux")]
fn ask_permission() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the system call takes plain numbers and changes nothing but the permission.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn ask_permission() -> bool {
    false
}

/// The shape of the tile registers: all eight are sixteen rows of 64 bytes.
#[repr(C, align(64))]
struct Shape {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

static SHAPE: Shape = Shape {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes_per_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Tiles are ready while this lives. Dropping it gives the registers back, so that switching threads stays cheap.
pub(crate) struct Tiles(());

impl Tiles {
    /// # Safety
    /// [`is_available`] must have said yes.
    pub(crate) unsafe fn configure() -> Self {
        // SAFETY: `SHAPE` is a valid configuration.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPE, options(nostack, readonly)) };
        Self(())
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: only `configure` makes this type, so the instruction exists.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// See [`super::tile::multiply_bf16`].
///
/// # Safety
/// As there; tiles must be configured, and rows must be readable up to a multiple of sixteen.
#[inline(always)]
pub(crate) unsafe fn multiply(
    parts: &[Part<bf16>],
    rows: usize,
    panel: *const bf16,
    columns: usize,
    out: *mut f32,
) {
    unsafe {
        match (rows > 16, columns > 16) {
            (true, true) => multiply_32x32(parts, panel, out),
            (true, false) => multiply_32x16(parts, panel, out),
            (false, true) => multiply_16x32(parts, panel, out),
            (false, false) => multiply_16x16(parts, panel, out),
        }
    }
}

/// One routine: clears `$sums`, walks through the parts, and stores.
macro_rules! tile_routine {
    ($name:ident, $columns:literal, clear: [$($clear:literal),*], step: [$($step:literal),*], store: [$($store:literal),*]) => {
        unsafe fn $name(parts: &[Part<bf16>], panel: *const bf16, out: *mut f32) {
            // SAFETY: the caller vouches for the memory; tile registers are marked as overwritten.
            unsafe {
                asm!(
                    $($clear,)*
                    "2:",
                    "mov {upper}, [{part}]",
                    "mov {stride}, [{part} + 8]",
                    "mov {steps}, [{part} + 16]",
                    "mov {lower}, {stride}",
                    "shl {lower}, 4",
                    "add {lower}, {upper}",
                    "3:",
                    $($step,)*
                    "add {upper}, 64",
                    "add {lower}, 64",
                    concat!("add {panel}, ", $columns, " * 64"),
                    "dec {steps}",
                    "jnz 3b",
                    "add {part}, 24",
                    "dec {count}",
                    "jnz 2b",
                    concat!("mov {stride}, ", $columns, " * 4"),
                    $($store,)*
                    part = inout(reg) parts.as_ptr() => _,
                    count = inout(reg) parts.len() => _,
                    panel = inout(reg) panel => _,
                    out = in(reg) out,
                    line = in(reg) 64_usize,
                    upper = out(reg) _,
                    lower = out(reg) _,
                    stride = out(reg) _,
                    steps = out(reg) _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

tile_routine!(multiply_32x32, 32,
clear: ["tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3"],
step: [
    "tileloadd tmm4, [{upper} + {stride}]",
    "tileloadd tmm6, [{panel} + {line}]",
    "tdpbf16ps tmm0, tmm4, tmm6",
    "tileloadd tmm7, [{panel} + {line} + 1024]",
    "tdpbf16ps tmm1, tmm4, tmm7",
    "tileloadd tmm5, [{lower} + {stride}]",
    "tdpbf16ps tmm2, tmm5, tmm6",
    "tdpbf16ps tmm3, tmm5, tmm7"
],
store: [
    "tilestored [{out} + {stride}], tmm0",
    "tilestored [{out} + {stride} + 64], tmm1",
    "tilestored [{out} + {stride} + 2048], tmm2",
    "tilestored [{out} + {stride} + 2112], tmm3"
]);
tile_routine!(multiply_32x16, 16,
    clear: ["tilezero tmm0", "tilezero tmm2"],
    step: [
        "tileloadd tmm4, [{upper} + {stride}]",
        "tileloadd tmm6, [{panel} + {line}]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm5, [{lower} + {stride}]",
        "tdpbf16ps tmm2, tmm5, tmm6"
    ],
    store: ["tilestored [{out} + {stride}], tmm0", "tilestored [{out} + {stride} + 1024], tmm2"]);
tile_routine!(multiply_16x32, 32,
    clear: ["tilezero tmm0", "tilezero tmm1"],
    step: [
        "tileloadd tmm4, [{upper} + {stride}]",
        "tileloadd tmm6, [{panel} + {line}]",
        "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{panel} + {line} + 1024]",
        "tdpbf16ps tmm1, tmm4, tmm7"
    ],
    store: ["tilestored [{out} + {stride}], tmm0", "tilestored [{out} + {stride} + 64], tmm1"]);
tile_routine!(multiply_16x16, 16,
    clear: ["tilezero tmm0"],
    step: [
        "tileloadd tmm4, [{upper} + {stride}]",
        "tileloadd tmm6, [{panel} + {line}]",
        "tdpbf16ps tmm0, tmm4, tmm6"
    ],
    store: ["tilestored [{out} + {stride}], tmm0"]);
