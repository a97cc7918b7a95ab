// Gives the words of CUDA a meaning to a C++ compiler, so that the kernels can be tested without a card.
//
// Blocks run one after the other; the threads of a block are fibres of one thread of the system. A fibre runs until it
// waits for others: at __syncthreads, or where a warp exchanges values. Fibres are resumed in rising or falling order, so
// that a missing barrier shows as a wrong result in one of the two. A barrier that some threads never reach is reported.
//
// Shared memory is static memory, filled with a pattern before each block. Buffers end at pages that may not be touched.
// What is copied ahead arrives when it is awaited and not before; until then, not-a-number lies in its place.

#pragma once
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <vector>

#define EMULATED
#define INLINE inline
#define __shared__ static
#define __restrict__
#define KERNEL(threads) extern "C" void
#define DYNAMIC_SHARED(type, name) type* name = (type*)emulator::dynamic_shared
#define INFINITE __builtin_inff()

using std::max;
using std::min;

struct Index {
  unsigned x, y, z;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {

const int MOST_THREADS = 1024, STACK = 64 << 10, MOST_SHARED = 48 << 10;
alignas(64) static char dynamic_shared[MOST_SHARED];

struct Fibre {
  ucontext_t entry;
  jmp_buf place;
  bool is_started, is_done;
};
struct Warp {
  // What each lane brings to an exchange, and where its part of the result goes.
  unsigned values[32][6];
  const char* rows[32];
  void* results[32];
  int arrived, rounds;
};
// Bytes on their way to shared memory.
struct Copy {
  char* to;
  const char* from;  // null for zeros
  int group;
};
struct Copies {
  std::vector<Copy> pending;
  int committed;  // groups
};
static Fibre fibres[MOST_THREADS];
static Warp warps[MOST_THREADS / 32];
static Copies copies[MOST_THREADS];
static bool has_misaligned;
static char* stacks;
static jmp_buf scheduler;
static int current, arrived, rounds, progress;
static void (*body)(void*);
static void* argument;

static void yield() {
  if (!_setjmp(fibres[current].place)) _longjmp(scheduler, 1);
}

static void wait_for(int& here, int& round, int count) {
  progress++;
  const int mine = round;
  if (++here == count) {
    here = 0;
    round++;
  } else {
    while (round == mine) yield();
  }
}

static void wait_for_warp() {
  Warp& warp = warps[threadIdx.x / 32];
  wait_for(warp.arrived, warp.rounds, 32);
}

// An exchange among the lanes of a warp: whoever comes last makes the results of all.
template <class Exchange>
static void exchange(Exchange make_all) {
  Warp& warp = warps[threadIdx.x / 32];
  if (warp.arrived == 31) make_all(warp);
  wait_for_warp();
}

static void run_fibre() {
  body(argument);
  fibres[current].is_done = true;
  progress++;
  _longjmp(scheduler, 1);
}

// Runs the threads of one block. False if they wait for each other for ever.
static bool run_block(int threads, bool is_falling) {
  if (!stacks) stacks = (char*)malloc((size_t)MOST_THREADS * STACK);
  memset(dynamic_shared, 0x5a, sizeof dynamic_shared);
  arrived = rounds = 0;
  for (int i = 0; i < threads; i++) {
    fibres[i].is_started = fibres[i].is_done = false;
    warps[i / 32].arrived = warps[i / 32].rounds = 0;
    copies[i].pending.clear();
    copies[i].committed = 0;
  }
  for (volatile int done = 0; done < threads;) {
    progress = 0;
    for (volatile int i = 0; i < threads; i++) {
      current = is_falling ? threads - 1 - i : i;
      Fibre& fibre = fibres[current];
      if (fibre.is_done) continue;
      threadIdx = Index{(unsigned)current, 0, 0};
      if (!_setjmp(scheduler)) {
        if (fibre.is_started) _longjmp(fibre.place, 1);
        fibre.is_started = true;
        getcontext(&fibre.entry);
        fibre.entry.uc_stack.ss_sp = stacks + (size_t)current * STACK;
        fibre.entry.uc_stack.ss_size = STACK;
        makecontext(&fibre.entry, run_fibre, 0);
        setcontext(&fibre.entry);
      }
      if (fibres[current].is_done) done = done + 1;
    }
    if (done < threads && progress == 0) return false;
  }
  return true;
}

}  // namespace emulator

static inline void __syncthreads() { emulator::wait_for(emulator::arrived, emulator::rounds, blockDim.x); }

static inline void __syncwarp() { emulator::wait_for_warp(); }

static inline float shuffled(float value, int from) {
  emulator::Warp& warp = emulator::warps[threadIdx.x / 32];
  const int lane = threadIdx.x % 32;
  float result;
  memcpy(&warp.values[lane][0], &value, 4);
  warp.values[lane][1] = from % 32;
  warp.results[lane] = &result;
  emulator::exchange([](emulator::Warp& all) {
    for (int i = 0; i < 32; i++) memcpy(all.results[i], &all.values[all.values[i][1]][0], 4);
  });
  return result;
}
static inline float __shfl_xor_sync(unsigned, float value, int mask) { return shuffled(value, (threadIdx.x % 32) ^ mask); }
static inline float __shfl_sync(unsigned, float value, int lane) { return shuffled(value, lane); }

static inline float bf16_value(unsigned short bits) {
  unsigned whole = (unsigned)bits << 16;
  float value;
  memcpy(&value, &whole, 4);
  return value;
}
// Rounds to nearest, halves to even; not-a-number stays so.
static inline unsigned short bf16_bits(float value) {
  unsigned whole;
  memcpy(&whole, &value, 4);
  if (value != value) return 0x7fff;
  return (whole + 0x7fff + (whole >> 16 & 1)) >> 16;
}
struct F16Values {
  float of[1 << 16];
  F16Values() {
    for (int bits = 0; bits < 1 << 16; bits++) {
      const int exponent = bits >> 10 & 31, fraction = bits & 1023;
      float value;
      if (exponent == 0)
        value = ldexpf(fraction, -24);
      else if (exponent == 31)
        value = fraction ? NAN : INFINITE;
      else
        value = ldexpf(1024 + fraction, exponent - 25);
      of[bits] = bits & 0x8000 ? -value : value;
    }
  }
};
static const F16Values f16_values;
static inline float f16_value(unsigned short bits) { return f16_values.of[bits]; }
static inline unsigned short f16_bits(float value) {
  const unsigned short sign = std::signbit(value) ? 0x8000 : 0;
  value = fabsf(value);
  if (value != value) return 0x7fff;
  if (value >= 65520.0f) return sign | 0x7c00;
  int exponent = -14;  // 0 and numbers too small for a leading 1
  if (value >= 0x1p-14f) frexpf(value, &exponent);
  const int scale = std::max(exponent - 11, -24);  // of the last bit
  const int fraction = (int)rintf(ldexpf(value, -scale));
  if (scale == -24) return sign | fraction;  // also where rounding reaches the first normal number
  return sign | (((scale + 25) << 10) + (fraction - 1024));
}

// A warp's product of a 16x16 and a 16x8 matrix, spread over the lanes as kernels.cu says.
template <float VALUE(unsigned short)>
static inline void multiply_matrices(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  emulator::Warp& warp = emulator::warps[threadIdx.x / 32];
  const int lane = threadIdx.x % 32;
  for (int i = 0; i < 4; i++) warp.values[lane][i] = a[i];
  for (int i = 0; i < 2; i++) warp.values[lane][4 + i] = b[i];
  warp.results[lane] = sums;
  emulator::exchange([](emulator::Warp& all) {
    float left[16][16], right[8][16];
    for (int k = 0; k < 16; k++) {
      for (int row = 0; row < 16; row++)
        left[row][k] = VALUE(all.values[row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2] >> k % 2 * 16);
      for (int column = 0; column < 8; column++)
        right[column][k] = VALUE(all.values[column * 4 + k % 8 / 2][4 + k / 8] >> k % 2 * 16);
    }
    for (int row = 0; row < 16; row++)
      for (int column = 0; column < 8; column++) {
        float& sum = ((float*)all.results[row % 8 * 4 + column / 2])[row / 8 * 2 + column % 2];
        for (int k = 0; k < 16; k++) sum += left[row][k] * right[column][k];
      }
  });
}
static inline void multiply_f16(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  multiply_matrices<f16_value>(sums, a, b);
}
static inline void multiply_bf16(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  multiply_matrices<bf16_value>(sums, a, b);
}

// What a card refuses to address.
static inline void must_be_aligned(const void* at) {
  if ((size_t)at % 16) emulator::has_misaligned = true;
}

template <bool IS_TRANSPOSED>
static inline void load_rows(unsigned (&to)[4], const void* row) {
  must_be_aligned(row);
  emulator::Warp& warp = emulator::warps[threadIdx.x / 32];
  warp.rows[threadIdx.x % 32] = (const char*)row;
  warp.results[threadIdx.x % 32] = to;
  emulator::exchange([](emulator::Warp& all) {
    for (int lane = 0; lane < 32; lane++)
      for (int i = 0; i < 4; i++) {
        unsigned short pair[2];
        for (int e = 0; e < 2; e++) {
          const int line = IS_TRANSPOSED ? lane % 4 * 2 + e : lane / 4;
          const int column = IS_TRANSPOSED ? lane / 4 : lane % 4 * 2 + e;
          memcpy(&pair[e], all.rows[i * 8 + line] + column * 2, 2);
        }
        ((unsigned*)all.results[lane])[i] = (unsigned)pair[0] | (unsigned)pair[1] << 16;
      }
  });
}
static inline void load_matrices(unsigned (&to)[4], const void* row) { load_rows<false>(to, row); }
static inline void load_transposed(unsigned (&to)[4], const void* row) { load_rows<true>(to, row); }

static inline void copy_ahead(void* to, const void* from, bool is_there) {
  must_be_aligned(to);
  must_be_aligned(from);
  memset(to, 0xff, 16);
  emulator::Copies& mine = emulator::copies[threadIdx.x];
  mine.pending.push_back({(char*)to, is_there ? (const char*)from : 0, mine.committed});
}
static inline void commit_copies() { emulator::copies[threadIdx.x].committed++; }
template <int NEWEST>
static inline void await_copies() {
  emulator::Copies& mine = emulator::copies[threadIdx.x];
  std::vector<emulator::Copy> later;
  for (const emulator::Copy& copy : mine.pending) {
    if (copy.group >= mine.committed - NEWEST)
      later.push_back(copy);
    else if (copy.from)
      memcpy(copy.to, copy.from, 16);
    else
      memset(copy.to, 0, 16);
  }
  mine.pending.swap(later);
}

static inline float power_of_2(float x) { return exp2f(x); }
#define __expf expf
static inline float __fdividef(float x, float y) { return x / y; }
