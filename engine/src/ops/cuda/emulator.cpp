// The kernels as a library for tests; see emulator.h.

#include "emulator.h"

#define WITH_F32
#define WITH_F16
#define WITH_BF16
#define WITH_LATENTS
#include "kernels.cu"

// Memory whose end lies at a page that may not be touched; `bytes` is rounded up to 16.
extern "C" char* emulator_allocate(size_t bytes) {
  const size_t page = sysconf(_SC_PAGESIZE), used = (bytes + 15) / 16 * 16, pages = (used + page - 1) / page;
  char* start = (char*)mmap(0, (pages + 1) * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return 0;
  mprotect(start + pages * page, page, PROT_NONE);
  return start + pages * page - used;
}

extern "C" void emulator_free(char* memory, size_t bytes) {
  const size_t page = sysconf(_SC_PAGESIZE), used = (bytes + 15) / 16 * 16, pages = (used + page - 1) / page;
  munmap(memory + used - pages * page, (pages + 1) * page);
}

// An argument as the launch describes it: 'p' a pointer, 'i' a whole number, 'f' a float.
struct Argument {
  char kind;
  char* pointer;
  int whole;
  float real;
};

struct Call {
  void (*kernel)();
  const Argument* arguments;
};

// The calling convention keeps pointers and whole numbers in one sequence and floats in another, so that a kernel may be
// called with all of each in order.
static void call(void* data) {
  const Call& call = *(const Call*)data;
  size_t wholes[24] = {};
  float reals[4] = {};
  int whole_count = 0, real_count = 0;
  for (const Argument* argument = call.arguments; argument->kind; argument++) {
    if (argument->kind == 'f')
      reals[real_count++] = argument->real;
    else
      wholes[whole_count++] = argument->kind == 'p' ? (size_t)argument->pointer : (size_t)argument->whole;
  }
  typedef void (*Kernel)(size_t, size_t, size_t, size_t, size_t, size_t, size_t, size_t, size_t, size_t, size_t, size_t,
                         size_t, size_t, size_t, size_t, size_t, size_t, size_t, size_t, size_t, size_t, size_t, size_t,
                         float, float, float, float);
  const size_t* w = wholes;
  ((Kernel)call.kernel)(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[11], w[12], w[13], w[14],
                        w[15], w[16], w[17], w[18], w[19], w[20], w[21], w[22], w[23], reals[0], reals[1], reals[2],
                        reals[3]);
}

// Runs a kernel. 0 if all went well, 1 if some threads waited for ever, 2 if something was addressed off its alignment.
extern "C" int emulator_run(void (*kernel)(), const Argument* arguments, const int* grid, int threads, int is_falling) {
  static Call data;
  data = Call{kernel, arguments};
  emulator::body = call;
  emulator::argument = &data;
  emulator::has_misaligned = false;
  gridDim = Index{(unsigned)grid[0], (unsigned)grid[1], (unsigned)grid[2]};
  blockDim = Index{(unsigned)threads, 1, 1};
  for (int z = 0; z < grid[2]; z++)
    for (int y = 0; y < grid[1]; y++)
      for (int x = 0; x < grid[0]; x++) {
        blockIdx = Index{(unsigned)x, (unsigned)y, (unsigned)z};
        if (!emulator::run_block(threads, is_falling)) return 1;
      }
  return emulator::has_misaligned ? 2 : 0;
}
