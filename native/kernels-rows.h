// Work on rows and on single elements; part of kernels-body.h.

template <class T>
void layerNorm(const T* x, const float* weight, const float* bias, T* y, float* mean, float* rstd, int64_t rows,
               int64_t width, float eps) {
  const int64_t whole = width / kLanes * kLanes;
  for (int64_t row = 0; row < rows; row++, x += width, y += width) {
    Vector sums = splat(0);
    for (int64_t i = 0; i < whole; i += kLanes) sums += load(x + i);
    float sum = sumOf(sums);
    for (int64_t i = whole; i < width; i++) sum += loadOne(x + i);
    const float m = sum / static_cast<float>(width);
    Vector squares = splat(0);
    for (int64_t i = 0; i < whole; i += kLanes) {
      const Vector away = load(x + i) - m;
      squares += away * away;
    }
    float square = sumOf(squares);
    for (int64_t i = whole; i < width; i++) square += (loadOne(x + i) - m) * (loadOne(x + i) - m);
    const float r = 1.0f / __builtin_sqrtf(square / static_cast<float>(width) + eps);
    for (int64_t i = 0; i < whole; i += kLanes) store(y + i, (load(x + i) - m) * r * load(weight + i) + load(bias + i));
    for (int64_t i = whole; i < width; i++) storeOne(y + i, (loadOne(x + i) - m) * r * weight[i] + bias[i]);
    mean[row] = m;
    rstd[row] = r;
  }
}

template <class T>
void layerNormBackward(const T* dy, const T* x, const float* weight, const float* mean, const float* rstd, T* dx,
                       float* weightGradient, float* biasGradient, int64_t rows, int64_t width) {
  const int64_t whole = width / kLanes * kLanes;
  for (int64_t row = 0; row < rows; row++, x += width, dy += width, dx += width) {
    const float m = mean[row], r = rstd[row];
    Vector sums = splat(0), products = splat(0);
    for (int64_t i = 0; i < whole; i += kLanes) {
      const Vector d = load(dy + i), normal = (load(x + i) - m) * r, own = d * load(weight + i);
      sums += own;
      products += own * normal;
      store(weightGradient + i, load(weightGradient + i) + d * normal);
      store(biasGradient + i, load(biasGradient + i) + d);
    }
    float sum = sumOf(sums), product = sumOf(products);
    for (int64_t i = whole; i < width; i++) {
      const float d = loadOne(dy + i), normal = (loadOne(x + i) - m) * r;
      sum += d * weight[i];
      product += d * weight[i] * normal;
      weightGradient[i] += d * normal;
      biasGradient[i] += d;
    }
    sum /= static_cast<float>(width);
    product /= static_cast<float>(width);
    for (int64_t i = 0; i < whole; i += kLanes) {
      const Vector normal = (load(x + i) - m) * r;
      store(dx + i, (load(dy + i) * load(weight + i) - sum - normal * product) * r);
    }
    for (int64_t i = whole; i < width; i++) {
      const float normal = (loadOne(x + i) - m) * r;
      storeOne(dx + i, (loadOne(dy + i) * weight[i] - sum - normal * product) * r);
    }
  }
}

// Φ(x), the normal distribution, by Abramowitz and Stegun 7.1.26, off by less than 1e-7; density: e^(-x²/2).
inline Vector normal(Vector x, Vector& density) {
  const Vector size = larger(x, -x);
  density = exponential(size * size * -0.5f);
  const Vector t = 1.0f / (size * (0.3275911f * 0.70710678f) + 1.0f);
  Vector p = t * 1.061405429f - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const Vector tail = p * t * density * 0.5f;
  return x >= splat(0) ? 1.0f - tail : tail;
}

inline Vector geluOf(Vector x) {
  Vector density;
  return x * normal(x, density);
}

inline Vector geluSlope(Vector x) {
  Vector density;
  const Vector below = normal(x, density);
  return below + x * density * 0.39894228f;  // 1/√(2π)
}

// What is left over at the end of a row, filled up with zeros.
template <class T>
inline Vector loadSome(const T* p, int64_t count) {
  Vector v = splat(0);
  for (int64_t i = 0; i < count; i++) v[i] = loadOne(p + i);
  return v;
}
template <class T>
inline void storeSome(T* p, Vector v, int64_t count) {
  for (int64_t i = 0; i < count; i++) storeOne(p + i, v[i]);
}

template <class T>
void gelu(const T* x, T* y, int64_t count) {
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) store(y + i, geluOf(load(x + i)));
  if (whole < count) storeSome(y + whole, geluOf(loadSome(x + whole, count - whole)), count - whole);
}

template <class T>
void geluBackward(const T* dy, const T* x, T* dx, int64_t count) {
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) store(dx + i, load(dy + i) * geluSlope(load(x + i)));
  const int64_t rest = count - whole;
  if (rest > 0) storeSome(dx + whole, loadSome(dy + whole, rest) * geluSlope(loadSome(x + whole, rest)), rest);
}

template <class T>
void weightNorm(const float* v, const float* gain, T* w, float* norms, int64_t rows, int64_t width) {
  const int64_t whole = width / kLanes * kLanes;
  for (int64_t row = 0; row < rows; row++, v += width, w += width) {
    Vector squares = splat(0);
    for (int64_t i = 0; i < whole; i += kLanes) squares += load(v + i) * load(v + i);
    float square = sumOf(squares);
    for (int64_t i = whole; i < width; i++) square += v[i] * v[i];
    norms[row] = __builtin_sqrtf(square);
    const float factor = gain[row] / norms[row];
    for (int64_t i = 0; i < whole; i += kLanes) store(w + i, load(v + i) * factor);
    for (int64_t i = whole; i < width; i++) storeOne(w + i, v[i] * factor);
  }
}

template <class T>
void weightNormBackward(const T* dw, const float* v, const float* gain, const float* norms, float* dv, float* dgain,
                        int64_t rows, int64_t width) {
  const int64_t whole = width / kLanes * kLanes;
  for (int64_t row = 0; row < rows; row++, dw += width, v += width, dv += width) {
    Vector products = splat(0);
    for (int64_t i = 0; i < whole; i += kLanes) products += load(dw + i) * load(v + i);
    float product = sumOf(products);
    for (int64_t i = whole; i < width; i++) product += loadOne(dw + i) * v[i];
    const float norm = norms[row], factor = gain[row] / norm, along = product / (norm * norm);
    dgain[row] = product / norm;
    for (int64_t i = 0; i < whole; i += kLanes) store(dv + i, (load(dw + i) - load(v + i) * along) * factor);
    for (int64_t i = whole; i < width; i++) dv[i] = (loadOne(dw + i) - v[i] * along) * factor;
  }
}

// Sums of many numbers are added up in blocks of this many vectors, so that little is lost.
constexpr int64_t kBlock = 64;

// One row of the cross-entropy between q and softmax(x factor), and its gradient with respect to x, times `weight`:
// the loss is total log Σ e^(x factor) - q (x factor). `scratch`: [width]
template <class T>
float crossEntropy(const T* x, const float* q, float factor, float total, float weight, T* gradient, float* scratch,
                   int64_t width) {
  const int64_t whole = width / kLanes * kLanes;
  Vector most = splat(-__builtin_inff());
  for (int64_t i = 0; i < whole; i += kLanes) most = larger(most, load(x + i));
  float top = largestOf(most);
  for (int64_t i = whole; i < width; i++) top = loadOne(x + i) > top ? loadOne(x + i) : top;
  top *= factor;
  double sum = 0, product = 0;
  for (int64_t block = 0; block < whole; block += kBlock * kLanes) {
    const int64_t end = block + kBlock * kLanes < whole ? block + kBlock * kLanes : whole;
    Vector sums = splat(0), products = splat(0);
    for (int64_t i = block; i < end; i += kLanes) {
      const Vector z = load(x + i) * factor, e = exponential(z - top);
      store(scratch + i, e);
      sums += e;
      products += z * load(q + i);
    }
    sum += sumOf(sums);
    product += sumOf(products);
  }
  const int64_t rest = width - whole;
  if (rest > 0) {
    const Vector z = loadSome(x + whole, rest) * factor, e = exponential(z - top);
    storeSome(scratch + whole, e, rest);
    for (int64_t i = 0; i < rest; i++) {
      sum += e[i];
      product += z[i] * q[whole + i];
    }
  }
  const float slope = weight * factor, share = static_cast<float>(total / sum);
  for (int64_t i = 0; i < whole; i += kLanes) store(gradient + i, (load(scratch + i) * share - load(q + i)) * slope);
  for (int64_t i = whole; i < width; i++) storeOne(gradient + i, (scratch[i] * share - q[i]) * slope);
  return static_cast<float>((total * (top + __builtin_log(sum)) - product) * weight);
}

// One row of softmax((x - center) factor).
template <class T>
void sharpen(const T* x, const float* center, float factor, float* out, int64_t width) {
  const int64_t whole = width / kLanes * kLanes, rest = width - whole;
  Vector most = splat(-__builtin_inff());
  for (int64_t i = 0; i < whole; i += kLanes) {
    const Vector z = (load(x + i) - load(center + i)) * factor;
    store(out + i, z);
    most = larger(most, z);
  }
  float top = largestOf(most);
  for (int64_t i = whole; i < width; i++) {
    out[i] = (loadOne(x + i) - center[i]) * factor;
    top = out[i] > top ? out[i] : top;
  }
  double sum = 0;
  for (int64_t block = 0; block < whole; block += kBlock * kLanes) {
    const int64_t end = block + kBlock * kLanes < whole ? block + kBlock * kLanes : whole;
    Vector sums = splat(0);
    for (int64_t i = block; i < end; i += kLanes) {
      const Vector e = exponential(load(out + i) - top);
      store(out + i, e);
      sums += e;
    }
    sum += sumOf(sums);
  }
  if (rest > 0) {
    const Vector e = exponential(loadSome(out + whole, rest) - top);
    storeSome(out + whole, e, rest);
    for (int64_t i = 0; i < rest; i++) sum += e[i];
  }
  const float share = static_cast<float>(1 / sum);
  for (int64_t i = 0; i < whole; i += kLanes) store(out + i, load(out + i) * share);
  for (int64_t i = whole; i < width; i++) out[i] *= share;
}

// Loshchilov and Hutter 2019, algorithm 2; see AdamWSettings.
inline void adamwOne(const AdamWSettings& s, Vector& p, Vector g, Vector& m, Vector& v) {
  m = m * s.beta1 + g * s.rest1;
  v = v * s.beta2 + g * g * s.rest2;
  p = p * s.decay - m * s.rate / (rootOf(v) * s.correction + s.eps);
}

void adamw(const AdamWSettings& s, float* p, const float* g, float* m, float* v, int64_t count) {
  const int64_t whole = count / kLanes * kLanes, rest = count - whole;
  for (int64_t i = 0; i < whole; i += kLanes) {
    Vector parameter = load(p + i), mean = load(m + i), square = load(v + i);
    adamwOne(s, parameter, load(g + i), mean, square);
    store(p + i, parameter);
    store(m + i, mean);
    store(v + i, square);
  }
  if (rest == 0) return;
  Vector parameter = loadSome(p + whole, rest), mean = loadSome(m + whole, rest), square = loadSome(v + whole, rest);
  adamwOne(s, parameter, loadSome(g + whole, rest), mean, square);
  storeSome(p + whole, parameter, rest);
  storeSome(m + whole, mean, rest);
  storeSome(v + whole, square, rest);
}

// x <- momentum x + rest y
void movingAverage(float momentum, float rest, float* x, const float* y, int64_t count) {
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) store(x + i, load(x + i) * momentum + load(y + i) * rest);
  for (int64_t i = whole; i < count; i++) x[i] = x[i] * momentum + y[i] * rest;
}
