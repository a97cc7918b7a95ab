// The parts of a network that candle lacks, or makes of many small kernels, for NVIDIA cards.
//
// NVRTC compiles this file when a card is opened. It includes nothing, because NVRTC finds no headers on a machine that
// has only the libraries. Tests compile the very same file with a C++ compiler (emulator.h gives the words of CUDA their
// meaning there) and compare each kernel with its plain twin in Rust.
//
// Pictures are channels-last: [b, h, w, c]. Sums are f32 in every number format. Sums have one order, so that the same
// input gives the same bytes. Pointers that may be null say so.

#ifndef EMULATED
#define INLINE __device__ __forceinline__
#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
#define DYNAMIC_SHARED(type, name)                       \
  extern __shared__ __align__(16) char name##_bytes[]; \
  type* name = (type*)name##_bytes
#define INFINITE __int_as_float(0x7f800000)

INLINE float f16_value(unsigned short bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
INLINE unsigned short f16_bits(float value) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
INLINE unsigned short bf16_bits(float value) {
  unsigned short bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
INLINE float bf16_value(unsigned short bits) { return __uint_as_float((unsigned)bits << 16); }

// sums += a b for a 16x16 matrix a and a 16x8 matrix b that lie spread over the warp, as the PTX manual draws them:
// with g = lane / 4 and t = lane % 4, a holds the rows g and g + 8 at columns 2t, 2t + 1, and those 8 further right; b
// holds column g at the same rows; sums holds the rows g and g + 8 at columns 2t, 2t + 1.
INLINE void multiply_f16(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
INLINE void multiply_bf16(float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four matrices of 8x8 numbers of 16 bits from shared memory, spread over the warp: of each, a lane gets the row lane / 4
// at the columns 2t, 2t + 1, or transposed, the column lane / 4 at the rows 2t, 2t + 1. Lane 8i + r points to row r of
// matrix i.
INLINE void load_matrices(unsigned (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"((unsigned)__cvta_generic_to_shared(row))
               : "memory");
}
INLINE void load_transposed(unsigned (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"((unsigned)__cvta_generic_to_shared(row))
               : "memory");
}

// Sixteen bytes on their way to shared memory, or zeros, past the registers. They have arrived when the thread has awaited
// the group that they were committed with; others see them after a barrier.
INLINE void copy_ahead(void* to, const void* from, bool is_there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from),
               "r"(is_there ? 16 : 0)
               : "memory");
}
INLINE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// All groups but so many of the newest.
template <int NEWEST>
INLINE void await_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(NEWEST) : "memory");
}

INLINE float power_of_2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
#endif

// Number formats.

struct f16 {
  unsigned short bits;
};
struct bf16 {
  unsigned short bits;
};
typedef float f32;

INLINE float value_of(f16 x) { return f16_value(x.bits); }
INLINE float value_of(bf16 x) { return bf16_value(x.bits); }
INLINE float value_of(f32 x) { return x; }
INLINE void set(f16& x, float value) { x.bits = f16_bits(value); }
INLINE void set(bf16& x, float value) { x.bits = bf16_bits(value); }
INLINE void set(f32& x, float value) { x = value; }
INLINE void multiply(f16, float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { multiply_f16(sums, a, b); }
INLINE void multiply(bf16, float (&sums)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { multiply_bf16(sums, a, b); }

// What one instruction moves: 16 bytes.
template <class T>
struct alignas(16) Pack {
  static const int COUNT = 16 / sizeof(T);
  T values[COUNT];
};

template <class T>
INLINE Pack<T> zeros() {
  Pack<T> pack;
  for (int i = 0; i < Pack<T>::COUNT; i++) set(pack.values[i], 0.0f);
  return pack;
}

// Two neighbours as one register; `at` is even.
template <class T>
INLINE unsigned pair_at(const T* at) {
  return *(const unsigned*)at;
}

template <class T>
INLINE unsigned pair_of(float low, float high) {
  T a, b;
  set(a, low);
  set(b, high);
  return (unsigned)a.bits | (unsigned)b.bits << 16;
}

INLINE float warp_sum(float value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

INLINE float warp_max(float value) {
  for (int step = 16; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, step));
  return value;
}

INLINE float silu(float x) { return __fdividef(x, 1.0f + __expf(-x)); }
INLINE float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); }

// Group normalisation, optionally with SiLU behind it: sums over spans of a picture, then the result.
//
// Values are taken relative to the first value of their group: on a flat picture far from 0, the squares would lose what
// the values differ by. A thread holds 8 channels; the threads of a block stand side by side over all channels, as often
// as they fit.

template <class T>
INLINE void load_8(float (&values)[8], const T* from, int channel, int channels) {
  const int count = Pack<T>::COUNT;
  if (channels % count == 0) {
    for (int i = 0; i < 8; i += count) {
      Pack<T> pack = channel + i < channels ? *(const Pack<T>*)(from + channel + i) : zeros<T>();
      for (int j = 0; j < count; j++) values[i + j] = value_of(pack.values[j]);
    }
  } else {
    for (int i = 0; i < 8; i++) values[i] = channel + i < channels ? value_of(from[channel + i]) : 0.0f;
  }
}

template <class T>
INLINE void store_8(const float (&values)[8], T* to, int channel, int channels) {
  const int count = Pack<T>::COUNT;
  if (channels % count == 0) {
    for (int i = 0; i < 8; i += count) {
      Pack<T> pack;
      for (int j = 0; j < count; j++) set(pack.values[j], values[i + j]);
      if (channel + i < channels) *(Pack<T>*)(to + channel + i) = pack;
    }
  } else {
    for (int i = 0; i < 8; i++)
      if (channel + i < channels) set(to[channel + i], values[i]);
  }
}

template <class T>
INLINE void group_norm_sums(const T* x, float* sums, int area, int channels, int groups, int span) {
  DYNAMIC_SHARED(float, shared);  // per row of threads and channel: a sum and a sum of squares
  const int columns = (channels + 7) / 8, rows = blockDim.x / columns, width = channels / groups;
  const int row = threadIdx.x / columns, channel = threadIdx.x % columns * 8;
  const T* picture = x + (size_t)blockIdx.y * area * channels;
  const int start = blockIdx.x * span, end = min(start + span, area);
  float first[8], sum[8], squares[8];
  for (int i = 0; i < 8; i++) {
    first[i] = value_of(picture[min(channel + i, channels - 1) / width * width]);
    sum[i] = squares[i] = 0.0f;
  }
  for (int pixel = start + row; pixel < end; pixel += rows) {
    float values[8];
    load_8(values, picture + (size_t)pixel * channels, channel, channels);
    for (int i = 0; i < 8; i++) {
      const float value = values[i] - first[i];
      sum[i] += value;
      squares[i] += value * value;
    }
  }
  for (int i = 0; i < 8; i++) {
    float* place = shared + ((size_t)row * columns * 8 + channel + i) * 2;
    place[0] = sum[i];
    place[1] = squares[i];
  }
  __syncthreads();
  for (int group = threadIdx.x; group < groups; group += blockDim.x) {
    float all = 0.0f, all_squares = 0.0f;
    for (int r = 0; r < rows; r++)
      for (int c = group * width; c < (group + 1) * width; c++) {
        all += shared[((size_t)r * columns * 8 + c) * 2];
        all_squares += shared[((size_t)r * columns * 8 + c) * 2 + 1];
      }
    float* result = sums + (((size_t)blockIdx.y * gridDim.x + blockIdx.x) * groups + group) * 2;
    result[0] = all;
    result[1] = all_squares;
  }
}

template <class T>
INLINE void group_norm_apply(const T* x, const float* sums, const T* weight, const T* bias, T* y, int area, int channels,
                             int groups, int span, float eps, int has_silu) {
  DYNAMIC_SHARED(float, shared);  // per group: first value, mean relative to it, 1 / deviation
  const int columns = (channels + 7) / 8, rows = blockDim.x / columns, width = channels / groups;
  const T* picture = x + (size_t)blockIdx.y * area * channels;
  for (int group = threadIdx.x; group < groups; group += blockDim.x) {
    float sum = 0.0f, squares = 0.0f;
    for (int part = 0; part < gridDim.x; part++) {
      const float* place = sums + (((size_t)blockIdx.y * gridDim.x + part) * groups + group) * 2;
      sum += place[0];
      squares += place[1];
    }
    const float count = (float)area * width, mean = sum / count;
    shared[group * 3] = value_of(picture[group * width]);
    shared[group * 3 + 1] = mean;
    shared[group * 3 + 2] = 1.0f / sqrtf(fmaxf(squares / count - mean * mean, 0.0f) + eps);
  }
  __syncthreads();
  const int row = threadIdx.x / columns, channel = threadIdx.x % columns * 8;
  const int start = blockIdx.x * span, end = min(start + span, area);
  T* result = y + (size_t)blockIdx.y * area * channels;
  float first[8], mean[8], scale[8], shift[8];
  for (int i = 0; i < 8; i++) {
    const int c = min(channel + i, channels - 1), group = c / width;
    first[i] = shared[group * 3];
    mean[i] = shared[group * 3 + 1];
    scale[i] = shared[group * 3 + 2] * value_of(weight[c]);
    shift[i] = value_of(bias[c]);
  }
  for (int pixel = start + row; pixel < end; pixel += rows) {
    float values[8];
    load_8(values, picture + (size_t)pixel * channels, channel, channels);
    for (int i = 0; i < 8; i++) {
      values[i] = (values[i] - first[i] - mean[i]) * scale[i] + shift[i];
      if (has_silu) values[i] = silu(values[i]);
    }
    store_8(values, result + (size_t)pixel * channels, channel, channels);
  }
}

// Layer normalisation: a warp per token, the variance of centred values.

template <class T>
INLINE void layer_norm(const T* x, const T* weight, const T* bias, T* y, int tokens, int channels, float eps) {
  const int token = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (token >= tokens) return;  // a whole warp
  const T* from = x + (size_t)token * channels;
  T* to = y + (size_t)token * channels;
  float sum = 0.0f;
  for (int c = lane; c < channels; c += 32) sum += value_of(from[c]);
  const float mean = warp_sum(sum) / channels;
  float squares = 0.0f;
  for (int c = lane; c < channels; c += 32) {
    const float value = value_of(from[c]) - mean;
    squares += value * value;
  }
  const float scale = 1.0f / sqrtf(warp_sum(squares) / channels + eps);
  for (int c = lane; c < channels; c += 32)
    set(to[c], (value_of(from[c]) - mean) * scale * value_of(weight[c]) + value_of(bias[c]));
}

// The gate of a transformer's feed-forward part: [tokens, 2 inner] to [tokens, inner]. The bias may be null. A thread
// computes 8 channels of a token.

template <class T>
INLINE void geglu(const T* x, const T* bias, T* y, int tokens, int inner) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x, columns = (inner + 7) / 8, token = i / columns;
  if (token >= tokens) return;
  const int channel = (i - token * columns) * 8;
  const T* from = x + (size_t)token * 2 * inner;
  float values[8], gates[8], value_bias[8] = {}, gate_bias[8] = {};
  load_8(values, from, channel, inner);
  load_8(gates, from + inner, channel, inner);
  if (bias) {
    load_8(value_bias, bias, channel, inner);
    load_8(gate_bias, bias + inner, channel, inner);
  }
  for (int j = 0; j < 8; j++) values[j] = (values[j] + value_bias[j]) * gelu(gates[j] + gate_bias[j]);
  store_8(values, y + (size_t)token * inner, channel, inner);
}

// What follows a product: a bias per channel and what the result is added to; each may be null. A thread computes 8
// channels of a token.

template <class T>
INLINE void add(const T* x, const T* bias, const T* residual, T* y, int tokens, int channels) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x, columns = (channels + 7) / 8, token = i / columns;
  if (token >= tokens) return;
  const int channel = (i - token * columns) * 8;
  const size_t start = (size_t)token * channels;
  float values[8], biases[8] = {}, before[8] = {};
  load_8(values, x + start, channel, channels);
  if (bias) load_8(biases, bias, channel, channels);
  if (residual) load_8(before, residual + start, channel, channels);
  for (int j = 0; j < 8; j++) values[j] = values[j] + biases[j] + before[j];
  store_8(values, y + start, channel, channels);
}

// Attention without a matrix of scores, for heads of up to D channels (d, a multiple of 8, are used).
//
// A warp owns 16 M queries and keeps their result, largest score and sum of weights while blocks of keys go by; the
// result is scaled down whenever a larger score shows up. While one block is multiplied, the next is on its way. q, k, v
// and out are [b, n or m, heads, d].

template <class T, int D, int M, int KEYS>
INLINE void attention(const T* q, const T* k, const T* v, T* out, int n, int m, int d, int heads, float scale,
                      int is_causal) {
  // Rows of shared memory are 16 bytes longer than they need to be: eight neighbours then lie in different banks.
  const int WIDE = (D + 15) / 16 * 16, STRIDE = WIDE + 8;
  alignas(16) __shared__ T keys[2][KEYS * STRIDE];
  alignas(16) __shared__ T values[2][KEYS * STRIDE];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const size_t stride = (size_t)heads * d, head = blockIdx.y * d;
  q += (size_t)blockIdx.z * n * stride + head;
  k += (size_t)blockIdx.z * m * stride + head;
  v += (size_t)blockIdx.z * m * stride + head;
  out += (size_t)blockIdx.z * n * stride + head;
  const int block_query = blockIdx.x * (64 * M), query = block_query + warp * (16 * M) + g;

  // Scores become powers of 2.
  const float factor = scale * 1.4426950408889634f;
  // Later keys than the block's last query are nobody's.
  const int last = is_causal ? min(m, block_query + 64 * M) : m;
  auto fetch = [&](int start, int buffer) {
    for (int i = threadIdx.x; i < KEYS * (WIDE / 8); i += blockDim.x) {
      const int key = i / (WIDE / 8), c = i % (WIDE / 8) * 8, to = key * STRIDE + c;
      const bool is_there = start + key < m && c < d;
      const size_t from = is_there ? (start + key) * stride + c : 0;
      copy_ahead(&keys[buffer][to], k + from, is_there);
      copy_ahead(&values[buffer][to], v + from, is_there);
    }
    commit_copies();
  };
  fetch(0, 0);

  unsigned queries[M][WIDE / 16][4];
#pragma unroll
  for (int r = 0; r < M; r++)
#pragma unroll
    for (int s = 0; s < WIDE / 16; s++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int row = query + r * 16 + i % 2 * 8, c = s * 16 + t * 2 + i / 2 * 8;
        queries[r][s][i] = row < n && c < d ? pair_at(q + row * stride + c) : 0u;
      }
  float result[M][D / 8][4], largest[M][2], sum[M][2];
#pragma unroll
  for (int r = 0; r < M; r++) {
    largest[r][0] = largest[r][1] = -INFINITE;
    sum[r][0] = sum[r][1] = 0.0f;
#pragma unroll
    for (int i = 0; i < D / 8; i++) result[r][i][0] = result[r][i][1] = result[r][i][2] = result[r][i][3] = 0.0f;
  }

  int buffer = 0;
  for (int start = 0; start < last; start += KEYS) {
    await_copies<0>();
    // Whoever read the other buffer has come here since.
    __syncthreads();
    if (start + KEYS < last) fetch(start + KEYS, 1 - buffer);

    float scores[M][KEYS / 8][4];
#pragma unroll
    for (int i = 0; i < KEYS / 16; i++) {
#pragma unroll
      for (int r = 0; r < M; r++)
#pragma unroll
        for (int e = 0; e < 4; e++) scores[r][2 * i][e] = scores[r][2 * i + 1][e] = 0.0f;
      const T* rows = &keys[buffer][(i * 16 + lane / 16 * 8 + lane % 8) * STRIDE + lane / 8 % 2 * 8];
#pragma unroll
      for (int s = 0; s < WIDE / 16; s++) {
        unsigned b[4];
        load_matrices(b, rows + s * 16);
        const unsigned low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
#pragma unroll
        for (int r = 0; r < M; r++) {
          multiply(T(), scores[r][2 * i], queries[r][s], low);
          multiply(T(), scores[r][2 * i + 1], queries[r][s], high);
        }
      }
    }
    if (start + KEYS > m || is_causal) {
#pragma unroll
      for (int r = 0; r < M; r++)
#pragma unroll
        for (int i = 0; i < KEYS / 8; i++)
#pragma unroll
          for (int e = 0; e < 4; e++) {
            const int key = start + i * 8 + t * 2 + e % 2;
            const bool is_seen = key < m && (!is_causal || key <= query + r * 16 + e / 2 * 8);
            if (!is_seen) scores[r][i][e] = -INFINITE;
          }
    }
#pragma unroll
    for (int r = 0; r < M; r++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float top = largest[r][half];
#pragma unroll
        for (int i = 0; i < KEYS / 8; i++)
          top = fmaxf(top, fmaxf(scores[r][i][half * 2], scores[r][i][half * 2 + 1]));
        // The four lanes of a row.
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
        const float correction = power_of_2((largest[r][half] - top) * factor);  // 0 at the first block
        largest[r][half] = top;
        const float shift = top * factor;
        float added = 0.0f;
#pragma unroll
        for (int i = 0; i < KEYS / 8; i++)
#pragma unroll
          for (int e = half * 2; e < half * 2 + 2; e++) {
            scores[r][i][e] = power_of_2(scores[r][i][e] * factor - shift);
            added += scores[r][i][e];
          }
        sum[r][half] = sum[r][half] * correction + added;
#pragma unroll
        for (int i = 0; i < D / 8; i++) {
          result[r][i][half * 2] *= correction;
          result[r][i][half * 2 + 1] *= correction;
        }
      }
#pragma unroll
    for (int s = 0; s < KEYS / 16; s++) {
      // Where a result of the first product lies is where the second one wants its left side.
      unsigned a[M][4];
#pragma unroll
      for (int r = 0; r < M; r++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
          const float(&part)[4] = scores[r][2 * s + j / 2];
          a[r][j] = pair_of<T>(part[j % 2 * 2], part[j % 2 * 2 + 1]);
        }
      const T* rows = &values[buffer][(s * 16 + lane % 16) * STRIDE + lane / 16 * 8];
#pragma unroll
      for (int i = 0; i < WIDE / 16; i++) {
        unsigned b[4];
        load_transposed(b, rows + i * 16);
        const unsigned low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
#pragma unroll
        for (int r = 0; r < M; r++) {
          multiply(T(), result[r][2 * i], a[r], low);
          if (2 * i + 1 < D / 8) multiply(T(), result[r][2 * i + 1], a[r], high);
        }
      }
    }
    buffer = 1 - buffer;
  }
#pragma unroll
  for (int r = 0; r < M; r++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float all = sum[r][half];
      all += __shfl_xor_sync(0xffffffffu, all, 1);
      all += __shfl_xor_sync(0xffffffffu, all, 2);
      const float share = 1.0f / all;
      const int row = query + r * 16 + half * 8;
#pragma unroll
      for (int i = 0; i < D / 8; i++) {
        const int c = i * 8 + t * 2;
        const float(&part)[4] = result[r][i];
        if (row < n && c < d)
          *(unsigned*)(out + row * stride + c) = pair_of<T>(part[half * 2] * share, part[half * 2 + 1] * share);
      }
    }
}

// The same for any number format and heads of up to 512 channels, without matrix instructions: a warp per query.

template <class T>
INLINE void attention_any(const T* q, const T* k, const T* v, T* out, int n, int m, int d, int heads, float scale,
                          int is_causal) {
  const int lane = threadIdx.x % 32, query = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (query >= n) return;  // a whole warp
  const size_t stride = (size_t)heads * d, head = blockIdx.y * d;
  q += ((size_t)blockIdx.z * n + query) * stride + head;
  k += (size_t)blockIdx.z * m * stride + head;
  v += (size_t)blockIdx.z * m * stride + head;
  out += ((size_t)blockIdx.z * n + query) * stride + head;
  const int last = is_causal ? min(m, query + 1) : m;
  float result[16], largest = -INFINITE, sum = 0.0f;
  for (int i = 0; i < 16; i++) result[i] = 0.0f;
  for (int start = 0; start < last; start += 32) {
    const int key = start + lane;
    float score = -INFINITE;
    if (key < last) {
      score = 0.0f;
      for (int c = 0; c < d; c++) score += value_of(q[c]) * value_of(k[key * stride + c]);
      score *= scale;
    }
    const float top = fmaxf(largest, warp_max(score)), correction = expf(largest - top);
    const float weight = expf(score - top);
    largest = top;
    sum = sum * correction + warp_sum(weight);
#pragma unroll
    for (int i = 0; i < 16; i++) result[i] *= correction;
    for (int j = 0; j < min(32, last - start); j++) {
      const float share = __shfl_sync(0xffffffffu, weight, j);
#pragma unroll
      for (int i = 0; i < 16; i++)
        if (lane + i * 32 < d) result[i] += share * value_of(v[(start + j) * stride + lane + i * 32]);
    }
  }
#pragma unroll
  for (int i = 0; i < 16; i++)
    if (lane + i * 32 < d) set(out[lane + i * 32], result[i] / sum);
}

// Convolution as a product: pixels of the result times (taps x input channels) times output channels. Here for every number
// format and any number of input channels.
//
// A block computes 128 pixels of N channels; its 8 warps 64 x 32 or 32 x 32 each. While one slice of the inner dimension
// is multiplied, the next is on its way into registers. The picture may be read as if every pixel was repeated first
// (virtual_h, virtual_w). weight is [cout, kernel, kernel, cin]; bias is [cout], or [b, cout] with bias_stride = cout.

// What follows the sums of a convolution.
INLINE float finished(float value, int activation) {
  if (activation == 1) return fmaxf(value, 0.0f);
  if (activation == 2) return silu(value);
  return value;
}

template <class T, int M, int N>
struct Tile {
  static const int DEPTH = 64 / sizeof(T), STRIDE = DEPTH + Pack<T>::COUNT;
  // sums += a b', for rows of a and b that start at a warp's part of a tile.
  static INLINE void multiply_add(float (&sums)[M][N][4], const T* a, const T* b, int g, int t) {
#pragma unroll
    for (int k = 0; k < DEPTH; k += 16) {
      unsigned left[M][4], right[N][2];
#pragma unroll
      for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) left[i][j] = pair_at(a + (i * 16 + g + j % 2 * 8) * STRIDE + k + t * 2 + j / 2 * 8);
#pragma unroll
      for (int i = 0; i < N; i++)
#pragma unroll
        for (int j = 0; j < 2; j++) right[i][j] = pair_at(b + (i * 8 + g) * STRIDE + k + t * 2 + j * 8);
#pragma unroll
      for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < N; j++) multiply(T(), sums[i][j], left[i], right[j]);
    }
  }
};

template <int M, int N>
struct Tile<f32, M, N> {
  static const int DEPTH = 16, STRIDE = 20;
  static INLINE void multiply_add(float (&sums)[M][N][4], const float* a, const float* b, int g, int t) {
    for (int k = 0; k < DEPTH; k++)
#pragma unroll
      for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < N; j++)
#pragma unroll
          for (int e = 0; e < 4; e++)
            sums[i][j][e] += a[(i * 16 + g + e / 2 * 8) * STRIDE + k] * b[(j * 8 + t * 2 + e % 2) * STRIDE + k];
  }
};

template <class T, int N>
INLINE void convolve(const T* x, const T* weight, const T* bias, const T* residual, T* y, int pictures, int h, int w,
                     int virtual_h, int virtual_w, int cin, int cout, int out_h, int out_w, int kernel, int stride,
                     int padding, int bias_stride, int activation) {
  const int ROWS = 128, PACK = Pack<T>::COUNT, WARP_ROWS = N == 128 ? 64 : 32;
  typedef Tile<T, WARP_ROWS / 16, 4> Warp;
  const int DEPTH = Warp::DEPTH, STRIDE = Warp::STRIDE;
  alignas(16) __shared__ T left[2][ROWS * STRIDE];
  alignas(16) __shared__ T right[2][N * STRIDE];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const int warp_row = warp / (N / 32) * WARP_ROWS, warp_column = warp % (N / 32) * 32;
  const int area = out_h * out_w, pixels = pictures * area, taps = kernel * kernel, inner = taps * cin;
  const bool is_packed = cin % PACK == 0;

  // Four threads bring a row of a slice, one pack each; every thread serves rows 64 apart.
  const int part = threadIdx.x % 4 * PACK, my_row = threadIdx.x / 4;
  const T* picture[2];
  int top[2], left_edge[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const int pixel = blockIdx.x * ROWS + my_row + i * 64;
    const int place = pixel % area;
    picture[i] = pixel < pixels ? x + (size_t)(pixel / area) * h * w * cin : 0;
    top[i] = place / out_w * stride - padding;
    left_edge[i] = place % out_w * stride - padding;
  }
  const int first_column = blockIdx.y * N;

  Pack<T> next_left[2], next_right[N / 64];
  auto input = [&](int i, int k) -> const T* {
    // Where the k-th number of row i lies; null outside the picture.
    if (k >= inner || !picture[i]) return 0;
    const int tap = k / cin, row = top[i] + tap / kernel, column = left_edge[i] + tap % kernel;
    if (row < 0 || row >= virtual_h || column < 0 || column >= virtual_w) return 0;
    const int source_row = virtual_h == h ? row : row * h / virtual_h;
    const int source_column = virtual_w == w ? column : column * w / virtual_w;
    return picture[i] + ((size_t)source_row * w + source_column) * cin + (k - tap * cin);
  };
  auto fetch = [&](int start) {
    const int k = start + part;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      next_left[i] = zeros<T>();
      if (is_packed) {
        const T* from = input(i, k);
        if (from) next_left[i] = *(const Pack<T>*)from;
      } else {
        for (int j = 0; j < PACK; j++) {
          const T* from = input(i, k + j);
          if (from) next_left[i].values[j] = *from;
        }
      }
    }
#pragma unroll
    for (int i = 0; i < N / 64; i++) {
      const int column = first_column + my_row + i * 64;
      next_right[i] = zeros<T>();
      if (column < cout) {
        const T* from = weight + (size_t)column * inner + k;
        if (is_packed) {
          if (k < inner) next_right[i] = *(const Pack<T>*)from;
        } else {
          for (int j = 0; j < PACK; j++)
            if (k + j < inner) next_right[i].values[j] = from[j];
        }
      }
    }
  };
  auto store = [&](int buffer) {
#pragma unroll
    for (int i = 0; i < 2; i++) *(Pack<T>*)&left[buffer][(my_row + i * 64) * STRIDE + part] = next_left[i];
#pragma unroll
    for (int i = 0; i < N / 64; i++) *(Pack<T>*)&right[buffer][(my_row + i * 64) * STRIDE + part] = next_right[i];
  };

  float sums[WARP_ROWS / 16][4][4];
#pragma unroll
  for (int i = 0; i < WARP_ROWS / 16; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) sums[i][j][0] = sums[i][j][1] = sums[i][j][2] = sums[i][j][3] = 0.0f;
  fetch(0);
  store(0);
  __syncthreads();
  int buffer = 0;
  for (int start = 0; start < inner; start += DEPTH) {
    const bool has_next = start + DEPTH < inner;
    if (has_next) fetch(start + DEPTH);
    Warp::multiply_add(sums, left[buffer] + warp_row * STRIDE, right[buffer] + warp_column * STRIDE, g, t);
    buffer = 1 - buffer;
    // Whoever read this buffer last has come past the barrier since.
    if (has_next) store(buffer);
    __syncthreads();
  }

#pragma unroll
  for (int i = 0; i < WARP_ROWS / 16; i++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int pixel = blockIdx.x * ROWS + warp_row + i * 16 + g + half * 8;
      if (pixel >= pixels) continue;
      const T* row_bias = bias ? bias + (size_t)(pixel / area) * bias_stride : 0;
#pragma unroll
      for (int j = 0; j < 4; j++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
          const int column = first_column + warp_column + j * 8 + t * 2 + e;
          if (column >= cout) continue;
          const size_t place = (size_t)pixel * cout + column;
          float value = sums[i][j][half * 2 + e];
          if (row_bias) value += value_of(row_bias[column]);
          if (residual) value += value_of(residual[place]);
          set(y[place], finished(value, activation));
        }
    }
}

// The same where input channels come in whole slices of 32, in formats of 16 bits: no slice then spans two taps, and
// slices travel past the registers.
//
// A block of 4 warps computes 128 pixels of N channels, each warp 64 x N / 2. Two slices are on their way while a third is
// multiplied. Pack p of a row of a slice (64 bytes) lies at p ^ row / 2 % 4: eight neighbours then lie in different banks.
// Where a picture has too few blocks to keep a card busy, blockIdx.z shares the slices out; what they give is added up
// by convolve_end, from `parts`, [shares, pixels, cout]. Without shares, `parts` is null.

INLINE int place_of_pack(int row, int pack) { return row * 32 + (pack ^ row / 2 % 4) * 8; }

template <class T, int N>
INLINE void convolve_sliced(const T* x, const T* weight, const T* bias, const T* residual, T* y, float* parts, int pictures,
                            int h, int w, int virtual_h, int virtual_w, int cin, int cout, int out_h, int out_w, int kernel,
                            int stride, int padding, int bias_stride, int activation, int share) {
  const int ROWS = 128, DEPTH = 32, STAGES = 3, COLUMNS = N / 16;  // of 8 channels, in a warp
  alignas(128) __shared__ T left[STAGES][ROWS * DEPTH];
  alignas(128) __shared__ T right[STAGES][N * DEPTH];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const int area = out_h * out_w, pixels = pictures * area;
  const int slices_of_tap = cin / DEPTH, slices = kernel * kernel * slices_of_tap;
  const int first = blockIdx.z * share, count = min(share, slices - first);

  // Four threads bring a row of a slice, one pack each; every thread serves rows 32 apart.
  const int pack = threadIdx.x % 4, my_row = threadIdx.x / 4;
  int base[4], top[4], left_edge[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int pixel = blockIdx.x * ROWS + my_row + i * 32, place = pixel % area;
    base[i] = pixel < pixels ? pixel / area * h * w : -1;
    top[i] = place / out_w * stride - padding;
    left_edge[i] = place % out_w * stride - padding;
  }
  const int first_column = blockIdx.y * N;
  const size_t row_of_weight = (size_t)kernel * kernel * cin;
  const T* next_weight = weight + (first_column + my_row) * row_of_weight + (size_t)first * DEPTH + pack * 8;

  int tap = first / slices_of_tap, slice = first % slices_of_tap;
  const T* from[4];  // null outside the picture
  auto find_tap = [&] {
    const int line = tap / kernel, column_of_tap = tap - line * kernel;
#pragma unroll
    for (int i = 0; i < 4; i++) {
      int row = top[i] + line, column = left_edge[i] + column_of_tap;
      from[i] = 0;
      if (base[i] < 0 || row < 0 || row >= virtual_h || column < 0 || column >= virtual_w) continue;
      if (virtual_h != h) row = row * h / virtual_h;
      if (virtual_w != w) column = column * w / virtual_w;
      from[i] = x + (size_t)(base[i] + row * w + column) * cin + pack * 8;
    }
  };
  find_tap();
  int fetched = 0;
  auto fetch = [&](int stage) {
    if (fetched < count) {
      if (slice == slices_of_tap) {
        slice = 0;
        tap++;
        find_tap();
      }
#pragma unroll
      for (int i = 0; i < 4; i++)
        copy_ahead(&left[stage][place_of_pack(my_row + i * 32, pack)], from[i] ? from[i] + slice * DEPTH : x, from[i] != 0);
#pragma unroll
      for (int i = 0; i < N / 32; i++) {
        const bool is_there = first_column + my_row + i * 32 < cout;
        copy_ahead(&right[stage][place_of_pack(my_row + i * 32, pack)],
                   is_there ? next_weight + i * 32 * row_of_weight : weight, is_there);
      }
      next_weight += DEPTH;
      slice++;
      fetched++;
    }
    commit_copies();
  };

  float sums[4][COLUMNS][4];
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < COLUMNS; j++) sums[i][j][0] = sums[i][j][1] = sums[i][j][2] = sums[i][j][3] = 0.0f;
  const int warp_row = warp / 2 * 64, warp_column = warp % 2 * (N / 2);
  fetch(0);
  fetch(1);
  int stage = 0;
  for (int step = 0; step < count; step++) {
    await_copies<1>();
    // Whoever read the stage that is filled now has come here since.
    __syncthreads();
    fetch(stage == 0 ? 2 : stage - 1);
#pragma unroll
    for (int k = 0; k < DEPTH / 8; k += 2) {
      unsigned a[4][4];
#pragma unroll
      for (int i = 0; i < 4; i++)
        load_matrices(a[i], &left[stage][place_of_pack(warp_row + i * 16 + lane % 16, k + lane / 16)]);
#pragma unroll
      for (int j = 0; j < COLUMNS / 2; j++) {
        unsigned b[4];
        load_matrices(
            b, &right[stage][place_of_pack(warp_column + j * 16 + lane / 16 * 8 + lane % 8, k + lane / 8 % 2)]);
        const unsigned low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
#pragma unroll
        for (int i = 0; i < 4; i++) {
          multiply(T(), sums[i][2 * j], a[i], low);
          multiply(T(), sums[i][2 * j + 1], a[i], high);
        }
      }
    }
    stage = stage == 2 ? 0 : stage + 1;
  }

  // A warp's results pass through shared memory, 16 pixels at a time, so that neighbouring channels are finished together.
  const int CHANNELS = N / 2, LONG = CHANNELS + 8;
  __syncthreads();
  float* tile = (float*)left + warp * 16 * LONG;
#pragma unroll
  for (int i = 0; i < 4; i++) {
#pragma unroll
    for (int j = 0; j < COLUMNS; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) tile[(g + e / 2 * 8) * LONG + j * 8 + t * 2 + e % 2] = sums[i][j][e];
    __syncwarp();
#pragma unroll 1
    for (int k = lane; k < 16 * CHANNELS / 8; k += 32) {
      const int row = k / (CHANNELS / 8), column = k % (CHANNELS / 8) * 8, channel = first_column + warp_column + column;
      const int pixel = blockIdx.x * ROWS + warp_row + i * 16 + row;
      if (pixel >= pixels || channel >= cout) continue;
      float values[8], added[8];
      load_8(values, tile + row * LONG, column, CHANNELS);
      if (parts) {
        store_8(values, parts + ((size_t)blockIdx.z * pixels + pixel) * cout, channel, cout);
        continue;
      }
      if (bias) {
        load_8(added, bias + (size_t)(pixel / area) * bias_stride, channel, cout);
        for (int e = 0; e < 8; e++) values[e] += added[e];
      }
      if (residual) {
        load_8(added, residual + (size_t)pixel * cout, channel, cout);
        for (int e = 0; e < 8; e++) values[e] += added[e];
      }
      for (int e = 0; e < 8; e++) values[e] = finished(values[e], activation);
      store_8(values, y + (size_t)pixel * cout, channel, cout);
    }
    __syncwarp();
  }
}

template <class T>
INLINE void convolve_end(const float* parts, const T* bias, const T* residual, T* y, int pixels, int area, int cout,
                         int bias_stride, int activation, int shares) {
  const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x, all = (size_t)pixels * cout;
  if (i >= all) return;
  const int pixel = i / cout, column = i - (size_t)pixel * cout;
  float sum = 0.0f;
  for (int part = 0; part < shares; part++) sum += parts[part * all + i];
  if (bias) sum += value_of(bias[(size_t)(pixel / area) * bias_stride + column]);
  if (residual) sum += value_of(residual[i]);
  set(y[i], finished(sum, activation));
}

// What a step of the stream does around the denoiser. A row is a region at a noise level; two tables say what it is:
//
// whole: the latent it belongs to | its slot | 1 + its mask while it is denoised alone, else 0 | its mask | cells that it
//        is rolled down and to the right by | its place in the denoiser's batch | 1 + that of its negative prompt, or 0
// real:  shares of clean latent and noise in its surroundings | how white these are | factor of the denoiser's input |
//        shares of latent and prediction in the noise | shares of latent and noise in the result
//
// latents, white, background and stock (noise, by slot) are [.., c, h, w], masks are [.., h, w], all f32.

struct Row {
  const unsigned* whole;
  const f32* real;
};
INLINE Row row_at(const unsigned* whole, const f32* real, int row) {
  return Row{whole + (size_t)row * 8, real + (size_t)row * 8};
}

// A row's latent before it is rolled: in the first steps its surroundings are replaced.
INLINE float row_latent(Row row, const f32* latents, const f32* masks, const f32* white, const f32* background,
                        const f32* stock, int channel, int channels, int area, int cell) {
  const size_t plane = (size_t)channels * area, place = (size_t)channel * area + cell;
  const float x = latents[row.whole[0] * plane + place];
  if (row.whole[2] == 0) return x;
  const float mask = masks[(size_t)(row.whole[2] - 1) * area + cell];
  const float clean = white[place] * row.real[2] + background[place] * (1.0f - row.real[2]);
  const float around = clean * row.real[0] + stock[row.whole[1] * plane + place] * row.real[1];
  return around * (1.0f - mask) + x * mask;
}

// The denoiser's batch, [rows, h, w, c]: each row's latent rolled to the centre.
template <class T>
INLINE void stream_rows(const f32* latents, const f32* masks, const f32* white, const f32* background, const f32* stock,
                        const unsigned* whole, const f32* real, T* y, int rows, int channels, int h, int w) {
  const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  const int area = h * w;
  if (i >= (size_t)rows * channels * area) return;
  const int channel = i % channels, cell = i / channels % area;
  const Row row = row_at(whole, real, i / ((size_t)channels * area));
  const int line = (cell / w + h - (int)row.whole[4]) % h, column = (cell % w + w - (int)row.whole[5]) % w;
  const float x =
      row_latent(row, latents, masks, white, background, stock, channel, channels, area, line * w + column);
  set(y[i], x * row.real[3]);
}

// The rows' results, averaged under their masks, before the background: [slots, c, h, w].
//
// predicted is what the denoiser made of the batch; its strides say how it lies. A slot's table: its first row and their
// number among `whole` | its number | 1 + the noise of its background, or 0; slot_real: shares of background and noise.
// Rows may come in several calls: `before`, which may be null, is what the calls before gave; the last one divides.
template <class T>
INLINE void stream_average(const f32* latents, const f32* masks, const f32* white, const f32* background,
                           const f32* stock, const T* predicted, const unsigned* whole, const f32* real,
                           const unsigned* slot_whole, const f32* slot_real, const f32* divisors, const f32* shares,
                           const f32* before, f32* y, int slots, int channels, int h, int w, int channel_stride,
                           int cell_stride, int is_guided, int is_last, float scale, float delta) {
  const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  const int area = h * w;
  const size_t plane = (size_t)channels * area;
  if (i >= slots * plane) return;
  const int cell = i % area, channel = i / area % channels, line = cell / w, column = cell % w;
  const unsigned* slot = slot_whole + i / plane * 4;
  const size_t place = (size_t)channel * area + cell;
  float sum = before ? before[i] : 0.0f;
  for (unsigned number = slot[0]; number < slot[0] + slot[1]; number++) {
    const Row row = row_at(whole, real, number);
    const float x = row_latent(row, latents, masks, white, background, stock, channel, channels, area, cell);
    // Where this cell lay while it was denoised.
    const int rolled = (line + (int)row.whole[4]) % h * w + (column + (int)row.whole[5]) % w;
    const size_t at = (size_t)channel * channel_stride + (size_t)rolled * cell_stride;
    float noise = x * row.real[4] + value_of(predicted[row.whole[6] * plane + at]) * row.real[5];
    if (is_guided) {
      const float away =
          (row.whole[7] ? x * row.real[4] + value_of(predicted[(row.whole[7] - 1) * plane + at]) * row.real[5]
                        : stock[row.whole[1] * plane + place]) *
          delta;
      noise = away + (noise - away) * scale;
    }
    sum += (x * row.real[6] + noise * row.real[7]) * masks[(size_t)row.whole[3] * area + cell];
  }
  if (is_last) {
    const float* level = slot_real + i / plane * 2;
    const size_t there = (size_t)slot[2] * area + cell;
    float behind = background[place];
    if (slot[3]) behind = behind * level[0] + stock[(slot[3] - 1) * plane + place] * level[1];
    sum = sum / divisors[there] * (1.0f - shares[there]) + behind * shares[there];
  }
  y[i] = sum;
}

// Latents with noise: y = x signal + noise[slot] amount, with a slot, a signal and an amount for each latent.
INLINE void stream_noise(const f32* x, const f32* noise, const unsigned* slots, const f32* shares, f32* y, int latents,
                         int values) {
  const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (size_t)latents * values) return;
  const size_t latent = i / values;
  y[i] = x[i] * shares[latent * 2] + noise[slots[latent] * (size_t)values + i % values] * shares[latent * 2 + 1];
}

// The masks of all regions at all noise levels, [levels * regions, h, w]; behind them what their sums are divided by,
// [levels, h, w], and how much of the background shows, [levels, h, w]. coverage is [regions, h, w]; levels are pairs of
// a noise level and the next one; is_soft has a bit for each level at which a mask rises between the two.
INLINE void stream_masks(const f32* coverage, const f32* levels, f32* y, int regions, int count, int area, int is_soft) {
  const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (size_t)count * area) return;
  const int level = i / area, cell = i % area;
  const float noise = levels[level * 2], next = levels[level * 2 + 1];
  float sum = 0.0f;
  for (int region = 0; region < regions; region++) {
    const float value = coverage[(size_t)region * area + cell];
    float mask = value > noise ? 1.0f : 0.0f;
    if (is_soft >> level & 1) mask = fminf(fmaxf((value - next) / (noise - next), 0.0f), 1.0f);
    y[((size_t)level * regions + region) * area + cell] = mask;
    sum += mask;
  }
  f32* rest = y + (size_t)count * regions * area;
  rest[i] = sum > 0.0f ? sum : 1.0f;
  rest[(size_t)count * area + i] = fminf(fmaxf(1.0f - sum, 0.0f), 1.0f);
}

// Rows of latents [rows, c, h, w], each rolled down and to the right by its own number of cells (0 to h - 1, w - 1).

template <class T>
INLINE void roll(const T* x, const unsigned* shifts, T* y, int rows, int channels, int h, int w) {
  const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (size_t)rows * channels * h * w) return;
  const int column = i % w, line = i / w % h;
  const size_t plane = i / ((size_t)h * w);
  const unsigned* shift = shifts + plane / channels * 2;
  const int from_line = (line + h - (int)shift[0]) % h, from_column = (column + w - (int)shift[1]) % w;
  y[i] = x[(plane * h + from_line) * w + from_column];
}

// The top left part of a picture in -1..1 as opaque RGBA bytes; strides say how it lies.

template <class T>
INLINE void rgba(const T* x, unsigned* y, int height, int width, int channel_stride, int line_stride, int column_stride) {
  const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (size_t)height * width) return;
  const size_t place = i / width * line_stride + i % width * column_stride;
  unsigned pixel = 0xff000000u;
  for (int c = 0; c < 3; c++) {
    const float value = value_of(x[place + (size_t)c * channel_stride]) * 127.5f + 128.0f;
    pixel |= (unsigned)fminf(fmaxf(value, 0.0f), 255.0f) << 8 * c;
  }
  y[i] = pixel;
}

// The kernels by name.

#define FOR_TYPE(T)                                                                                                    \
  KERNEL(1024) group_norm_sums_##T(const T* x, float* sums, int area, int channels, int groups, int span) {            \
    group_norm_sums<T>(x, sums, area, channels, groups, span);                                                         \
  }                                                                                                                    \
  KERNEL(1024) group_norm_apply_##T(const T* x, const float* sums, const T* weight, const T* bias, T* y, int area,     \
                                    int channels, int groups, int span, float eps, int has_silu) {                     \
    group_norm_apply<T>(x, sums, weight, bias, y, area, channels, groups, span, eps, has_silu);                        \
  }                                                                                                                    \
  KERNEL(256) layer_norm_##T(const T* x, const T* weight, const T* bias, T* y, int tokens, int channels, float eps) {  \
    layer_norm<T>(x, weight, bias, y, tokens, channels, eps);                                                          \
  }                                                                                                                    \
  KERNEL(256) geglu_##T(const T* x, const T* bias, T* y, int tokens, int inner) { geglu<T>(x, bias, y, tokens, inner); } \
  KERNEL(256) add_##T(const T* x, const T* bias, const T* residual, T* y, int tokens, int channels) {                  \
    add<T>(x, bias, residual, y, tokens, channels);                                                                    \
  }                                                                                                                    \
  KERNEL(128) attention_any_##T(const T* q, const T* k, const T* v, T* out, int n, int m, int d, int heads,            \
                                float scale, int is_causal) {                                                          \
    attention_any<T>(q, k, v, out, n, m, d, heads, scale, is_causal);                                                  \
  }                                                                                                                    \
  KERNEL(256) rgba_##T(const T* x, unsigned* y, int height, int width, int channel_stride, int line_stride,            \
                       int column_stride) {                                                                            \
    rgba<T>(x, y, height, width, channel_stride, line_stride, column_stride);                                          \
  }                                                                                                                    \
  KERNEL(256) stream_rows_##T(const f32* latents, const f32* masks, const f32* white, const f32* background,           \
                              const f32* stock, const unsigned* whole, const f32* real, T* y, int rows, int channels,  \
                              int h, int w) {                                                                          \
    stream_rows<T>(latents, masks, white, background, stock, whole, real, y, rows, channels, h, w);                    \
  }                                                                                                                    \
  KERNEL(256) stream_average_##T(const f32* latents, const f32* masks, const f32* white, const f32* background,        \
                                 const f32* stock, const T* predicted, const unsigned* whole, const f32* real,         \
                                 const unsigned* slot_whole, const f32* slot_real, const f32* divisors,                \
                                 const f32* shares, const f32* before, f32* y, int slots, int channels, int h, int w,  \
                                 int channel_stride, int cell_stride, int is_guided, int is_last, float scale,         \
                                 float delta) {                                                                        \
    stream_average<T>(latents, masks, white, background, stock, predicted, whole, real, slot_whole, slot_real,         \
                      divisors, shares, before, y, slots, channels, h, w, channel_stride, cell_stride, is_guided,      \
                      is_last, scale, delta);                                                                          \
  }                                                                                                                    \
  FOR_WIDTH(T, 64)

#define FOR_WIDTH(T, N)                                                                                                \
  KERNEL(256) convolve_##N##_##T(const T* x, const T* weight, const T* bias, const T* residual, T* y, int pictures,    \
                                 int h, int w, int virtual_h, int virtual_w, int cin, int cout, int out_h, int out_w,  \
                                 int kernel, int stride, int padding, int bias_stride, int activation) {               \
    convolve<T, N>(x, weight, bias, residual, y, pictures, h, w, virtual_h, virtual_w, cin, cout, out_h, out_w, kernel, \
                   stride, padding, bias_stride, activation);                                                          \
  }

// Widths of heads, 16 queries each so often in a warp, and as many keys at a time as registers and shared memory hold.
#define FOR_HEAD(T, D, M, KEYS)                                                                                        \
  KERNEL(128) attention_##D##_##T(const T* q, const T* k, const T* v, T* out, int n, int m, int d, int heads,          \
                                  float scale, int is_causal) {                                                        \
    attention<T, D, M, KEYS>(q, k, v, out, n, m, d, heads, scale, is_causal);                                          \
  }
#define FOR_HEADS(T)     \
  FOR_HEAD(T, 32, 2, 64)  \
  FOR_HEAD(T, 40, 2, 64)  \
  FOR_HEAD(T, 64, 2, 64)  \
  FOR_HEAD(T, 80, 2, 32)  \
  FOR_HEAD(T, 128, 1, 32) \
  FOR_HEAD(T, 160, 1, 32)

#define FOR_SLICES(T, N)                                                                                               \
  KERNEL(128) convolve_sliced_##N##_##T(const T* x, const T* weight, const T* bias, const T* residual, T* y,           \
                                        float* parts, int pictures, int h, int w, int virtual_h, int virtual_w,        \
                                        int cin, int cout, int out_h, int out_w, int kernel, int stride, int padding,  \
                                        int bias_stride, int activation, int share) {                                  \
    convolve_sliced<T, N>(x, weight, bias, residual, y, parts, pictures, h, w, virtual_h, virtual_w, cin, cout, out_h, \
                          out_w, kernel, stride, padding, bias_stride, activation, share);                             \
  }
#define FOR_16_BITS(T)                                                                                                 \
  FOR_HEADS(T)                                                                                                         \
  FOR_SLICES(T, 64)                                                                                                    \
  FOR_SLICES(T, 128)                                                                                                   \
  KERNEL(256) convolve_end_##T(const float* parts, const T* bias, const T* residual, T* y, int pixels, int area,       \
                               int cout, int bias_stride, int activation, int shares) {                                \
    convolve_end<T>(parts, bias, residual, y, pixels, area, cout, bias_stride, activation, shares);                    \
  }

// A number format is compiled when a network first uses it.
#ifdef WITH_F16
FOR_TYPE(f16)
FOR_16_BITS(f16)
#endif
#ifdef WITH_BF16
FOR_TYPE(bf16)
FOR_16_BITS(bf16)
#endif
#ifdef WITH_F32
FOR_TYPE(f32)
FOR_WIDTH(f32, 128)
#endif
#ifdef WITH_LATENTS
KERNEL(256) roll_f32(const f32* x, const unsigned* shifts, f32* y, int rows, int channels, int h, int w) {
  roll<f32>(x, shifts, y, rows, channels, h, w);
}
KERNEL(256) stream_noise_f32(const f32* x, const f32* noise, const unsigned* slots, const f32* shares, f32* y, int latents,
                             int values) {
  stream_noise(x, noise, slots, shares, y, latents, values);
}
KERNEL(256) stream_masks_f32(const f32* coverage, const f32* levels, f32* y, int regions, int count, int area, int is_soft) {
  stream_masks(coverage, levels, y, regions, count, area, is_soft);
}
#endif
