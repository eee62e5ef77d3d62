// Attention inside windows; part of kernels-body.h.
// A window's head is gathered into float32 scratch that stays in the cache; nothing of it is kept for backward.

// Products of small matrices: out[i][j] = Σ_k a[i * aRow + k * aColumn] * b[k][j], of row strides `bRow` and `outRow`.
struct Product {
  const float* a;
  int64_t aRow, aColumn;
  const float* b;
  int64_t bRow;
  float* out;
  int64_t outRow;
  int64_t inner;
};

// `Rows` rows and `Columns` vectors of the result are kept in registers.
template <int Rows, int Columns>
inline void productTile(const Product& p, int64_t row, int64_t column) {
  Vector sums[Rows][Columns];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; i++)
#pragma GCC unroll 4
    for (int j = 0; j < Columns; j++) sums[i][j] = splat(0);
  const float* a = p.a + row * p.aRow;
  const float* b = p.b + column;
  for (int64_t k = 0; k < p.inner; k++, a += p.aColumn, b += p.bRow) {
    Vector right[Columns];
#pragma GCC unroll 4
    for (int j = 0; j < Columns; j++) right[j] = load(b + j * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; i++) {
      const float left = a[i * p.aRow];
#pragma GCC unroll 4
      for (int j = 0; j < Columns; j++) sums[i][j] += left * right[j];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; i++)
#pragma GCC unroll 4
    for (int j = 0; j < Columns; j++) store(p.out + (row + i) * p.outRow + column + j * kLanes, sums[i][j]);
}

template <int Rows, int Columns>
inline void lastRows(const Product& p, int64_t row, int64_t column, int64_t left) {
  if (left == Rows) productTile<Rows, Columns>(p, row, column);
  else if constexpr (Rows > 1) lastRows<Rows - 1, Columns>(p, row, column, left);
}

template <int Rows, int Columns>
void productColumns(const Product& p, int64_t rows, int64_t column) {
  int64_t row = 0;
  for (; row + Rows <= rows; row += Rows) productTile<Rows, Columns>(p, row, column);
  if (row < rows) lastRows<Rows, Columns>(p, row, column, rows - row);
}

// As many results as there are vector registers for, beside a row of b.
void product(const Product& p, int64_t rows, int64_t columns) {
  constexpr bool kMany = kLanes == 16;  // such machines have 32 registers
  int64_t column = 0;
  for (; column + 4 * kLanes <= columns; column += 4 * kLanes) productColumns<kMany ? 6 : 2, 4>(p, rows, column);
  for (; column + 2 * kLanes <= columns; column += 2 * kLanes) productColumns<kMany ? 10 : 5, 2>(p, rows, column);
  for (; column < columns; column += kLanes) productColumns<kMany ? 12 : 8, 1>(p, rows, column);
}

// Swaps the two blocks off the diagonal in every block of 2 Step x 2 Step.
template <int Step>
inline void swapBlocks(Vector (&tile)[kLanes]) {
  Signed upper, lower;
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; i++) {
    upper[i] = (i & Step) ? kLanes + i - Step : i;
    lower[i] = (i & Step) ? kLanes + i : i + Step;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; i++)
    if ((i & Step) == 0) {
      const Vector first = tile[i], second = tile[i + Step];
      tile[i] = shuffled(first, second, upper);
      tile[i + Step] = shuffled(first, second, lower);
    }
  if constexpr (2 * Step < kLanes) swapBlocks<2 * Step>(tile);
}

// x: [rows, columns] -> [columns, rows], both multiples of the vector's length
void transpose(const float* x, float* out, int64_t rows, int64_t columns) {
  for (int64_t row = 0; row < rows; row += kLanes)
    for (int64_t column = 0; column < columns; column += kLanes) {
      Vector tile[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; i++) tile[i] = load(x + (row + i) * columns + column);
      swapBlocks<1>(tile);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; i++) store(out + (column + i) * rows + row, tile[i]);
    }
}

int64_t paddedLength(int64_t length) { return roundUp(length, kLanes); }

// What a window of one head is worked on in. L and D are rounded up to whole vectors; what is beyond stays zero.
struct Scratch {
  int64_t length, depth;  // L and D, rounded up
  float *q, *k, *v, *dout;         // [L, D]
  float *kAcross, *vAcross;        // [D, L]
  float *probabilities, *dscores;  // [L, L]
  float *first, *second, *third;   // [L, D], results
  int64_t* token;                  // [L] place in the map, or -1 outside
  float* piece;                    // [L] pieces of the map that were not neighbours before the shift

  Scratch(const WindowMap& map, float* memory)
      : length(roundUp(map.length(), kLanes)), depth(roundUp(map.headDim, kLanes)) {
    const int64_t size = length * depth;
    float** const matrices[] = {&q, &k, &v, &dout, &kAcross, &vAcross, &first, &second, &third};
    for (float** matrix : matrices) {
      *matrix = memory;
      memory += size;
    }
    probabilities = memory;
    dscores = memory + length * length;
    piece = dscores + length * length;
    token = reinterpret_cast<int64_t*>(piece + length);
  }
  static int64_t floats(const WindowMap& map) {
    const int64_t length = roundUp(map.length(), kLanes), depth = roundUp(map.headDim, kLanes);
    return 9 * length * depth + 2 * length * length + 3 * length;
  }
};

int64_t attentionScratch(const WindowMap& map) { return Scratch::floats(map); }

// Where the tokens of a window lie; true where the window has pieces that may not see one another.
bool place(const WindowMap& map, int64_t number, Scratch& s) {
  const int64_t columns = map.columns(), rows = map.rows(), size = map.window;
  const int64_t height = rows * size, width = columns * size;
  const int64_t image = number / (rows * columns), top = number / columns % rows * size, left = number % columns * size;
  const auto pieceOf = [&](int64_t at, int64_t length) { return at < length - size ? 0 : at < length - map.shift ? 1 : 2; };
  bool mixed = false;
  for (int64_t i = 0; i < size; i++)
    for (int64_t j = 0; j < size; j++) {
      const int64_t at = i * size + j;
      const int64_t y = (top + i + map.shift) % height, x = (left + j + map.shift) % width;
      s.token[at] = y < map.height && x < map.width ? (image * map.height + y) * map.width + x : -1;
      s.piece[at] = map.shift == 0 ? 0.0f : static_cast<float>(3 * pieceOf(top + i, height) + pieceOf(left + j, width));
      mixed |= s.piece[at] != s.piece[0];
    }
  for (int64_t at = map.length(); at < s.length; at++) s.piece[at] = s.piece[0];
  return mixed;
}

// rows[token[i]] + offset -> out[i], for all i in the window; tokens outside have `outside`, or zeros where it is null
template <class T>
void gather(const WindowMap& map, const Scratch& s, const T* rows, int64_t stride, int64_t offset, const float* outside,
            float factor, float* out) {
  const int64_t depth = map.headDim, whole = depth / kLanes * kLanes;
  for (int64_t i = 0; i < map.length(); i++, out += s.depth) {
    if (s.token[i] < 0) {
      for (int64_t d = 0; d < depth; d++) out[d] = outside == nullptr ? 0.0f : outside[offset + d] * factor;
      continue;
    }
    const T* row = rows + s.token[i] * stride + offset;
    for (int64_t d = 0; d < whole; d += kLanes) store(out + d, load(row + d) * factor);
    for (int64_t d = whole; d < depth; d++) out[d] = loadOne(row + d) * factor;
  }
}

// Queries, already scaled, keys and values of one head.
template <class T>
void gatherHead(const WindowMap& map, const Scratch& s, const T* qkv, int64_t offset, const float* outside) {
  const int64_t channels = map.channels();
  gather(map, s, qkv, 3 * channels, offset, outside, map.scale, s.q);
  gather(map, s, qkv, 3 * channels, channels + offset, outside, 1.0f, s.k);
  gather(map, s, qkv, 3 * channels, 2 * channels + offset, outside, 1.0f, s.v);
}

// The way back; what belongs to tokens outside is added to `outside`, or dropped where it is null.
template <class T>
void scatter(const WindowMap& map, const Scratch& s, const float* x, float factor, T* rows, int64_t stride,
             int64_t offset, float* outside) {
  const int64_t depth = map.headDim, whole = depth / kLanes * kLanes;
  for (int64_t i = 0; i < map.length(); i++, x += s.depth) {
    if (s.token[i] < 0) {
      if (outside != nullptr)
        for (int64_t d = 0; d < depth; d++) outside[offset + d] += x[d] * factor;
      continue;
    }
    T* row = rows + s.token[i] * stride + offset;
    for (int64_t d = 0; d < whole; d += kLanes) store(row + d, load(x + d) * factor);
    for (int64_t d = whole; d < depth; d++) storeOne(row + d, x[d] * factor);
  }
}

// softmax(q kᵀ + bias) of one head; bias: [L, paddedLength(L)]
void attend(const WindowMap& map, Scratch& s, const float* bias, bool mixed) {
  const int64_t length = map.length();
  transpose(s.k, s.kAcross, s.length, s.depth);
  product({s.q, s.depth, 1, s.kAcross, s.length, s.probabilities, s.length, map.headDim}, length, s.length);
  for (int64_t i = 0; i < length; i++, bias += s.length) {
    float* row = s.probabilities + i * s.length;
    Vector most = splat(-__builtin_inff());
    for (int64_t j = 0; j < s.length; j += kLanes) {
      Vector score = load(row + j) + load(bias + j);
      if (mixed) score = load(s.piece + j) != splat(s.piece[i]) ? score - 100.0f : score;
      store(row + j, score);
      most = larger(most, score);
    }
    const float top = largestOf(most);
    Vector sums = splat(0);
    for (int64_t j = 0; j < s.length; j += kLanes) {
      const Vector e = exponential(load(row + j) - top);
      store(row + j, e);
      sums += e;
    }
    const float factor = 1.0f / sumOf(sums);
    for (int64_t j = 0; j < s.length; j += kLanes) store(row + j, load(row + j) * factor);
  }
}

template <class T>
void attention(const WindowMap& map, const T* qkv, const float* outside, const float* bias, T* out, int64_t first,
               int64_t last, float* memory) {
  Scratch s(map, memory);
  const int64_t channels = map.channels(), length = map.length();
  for (int64_t number = first; number < last; number++) {
    const bool mixed = place(map, number, s);
    for (int64_t head = 0; head < map.heads; head++) {
      const int64_t offset = head * map.headDim;
      gatherHead(map, s, qkv, offset, outside);
      attend(map, s, bias + head * length * s.length, mixed);
      product({s.probabilities, s.length, 1, s.v, s.depth, s.first, s.depth, length}, length, s.depth);
      scatter(map, s, s.first, 1.0f, out, channels, offset, static_cast<float*>(nullptr));
    }
  }
}

template <class T>
void attentionBackward(const WindowMap& map, const T* dout, const T* qkv, const float* outside, const float* bias,
                       T* dqkv, float* outsideGradient, float* biasGradient, int64_t first, int64_t last, float* memory) {
  Scratch s(map, memory);
  const int64_t channels = map.channels(), length = map.length();
  for (int64_t number = first; number < last; number++) {
    const bool mixed = place(map, number, s);
    for (int64_t head = 0; head < map.heads; head++) {
      const int64_t offset = head * map.headDim;
      gatherHead(map, s, qkv, offset, outside);
      gather(map, s, dout, channels, offset, static_cast<const float*>(nullptr), 1.0f, s.dout);
      attend(map, s, bias + head * length * s.length, mixed);
      transpose(s.v, s.vAcross, s.length, s.depth);
      product({s.dout, s.depth, 1, s.vAcross, s.length, s.dscores, s.length, map.headDim}, length, s.length);
      // softmax's backward: dS = P (dP - Σ P dP)
      float* table = biasGradient + head * length * s.length;
      for (int64_t i = 0; i < length; i++) {
        const float* p = s.probabilities + i * s.length;
        float* d = s.dscores + i * s.length;
        Vector sums = splat(0);
        for (int64_t j = 0; j < s.length; j += kLanes) sums += load(p + j) * load(d + j);
        const float sum = sumOf(sums);
        for (int64_t j = 0; j < s.length; j += kLanes) {
          const Vector ds = load(p + j) * (load(d + j) - sum);
          store(d + j, ds);
          store(table + i * s.length + j, load(table + i * s.length + j) + ds);
        }
      }
      product({s.dscores, s.length, 1, s.k, s.depth, s.first, s.depth, length}, length, s.depth);
      product({s.dscores, 1, s.length, s.q, s.depth, s.second, s.depth, length}, length, s.depth);
      product({s.probabilities, 1, s.length, s.dout, s.depth, s.third, s.depth, length}, length, s.depth);
      scatter(map, s, s.first, map.scale, dqkv, 3 * channels, offset, outsideGradient);
      scatter(map, s, s.second, 1.0f, dqkv, 3 * channels, channels + offset, outsideGradient);
      scatter(map, s, s.third, 1.0f, dqkv, 3 * channels, 2 * channels + offset, outsideGradient);
    }
  }
}
