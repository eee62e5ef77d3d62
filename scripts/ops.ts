/**
 * The operators that we use: `jsName = aten name.overload`, or just the aten name where it has no overload and
 * its camelCase is the wanted name. `npm run generate-ops` writes src/torch/ops.gen.ts from them.
 */
export const OPERATORS = `
add = add.Tensor
add_ = add_.Tensor
sub = sub.Tensor
sub_ = sub_.Tensor
mul = mul.Tensor
mul_ = mul_.Tensor
div = div.Tensor
div_ = div_.Tensor
neg
abs
exp
exp_
log
log2
log1p
sqrt
rsqrt
square
sin
cos
floor
round
sigmoid
tanh
erf
erfinv
reciprocal
sign
relu
relu_
gelu
silu
pow = pow.Tensor_Scalar
maximum
minimum
clamp
clamp_
clampMin = clamp_min
remainder = remainder.Scalar
addcmul
addcmul_
addcdiv
addcdiv_
lerp = lerp.Scalar
lerp_ = lerp_.Scalar
lerpTensor = lerp.Tensor
sum = sum.dim_IntList
sumAll = sum
mean = mean.dim
meanAll = mean
variance = var.correction
std = std.correction
amax
amin
argmax
max = max
maxDim = max.dim
min = min
norm = norm.ScalarOpt_dim
normAll = norm.Scalar
logsumexp
softmax = softmax.int
logSoftmax = log_softmax.int
cumsum
topk
sort
argsort
matmul
mm
bmm
addmm
baddbmm
t
linalgSvdvals = linalg_svdvals
linalgEigvalsh = linalg_eigvalsh
linalgQr = linalg_qr
linalgEigh = linalg_eigh
eq = eq.Tensor
ne = ne.Tensor
lt = lt.Tensor
le = le.Tensor
gt = gt.Tensor
ge = ge.Tensor
logicalAnd = logical_and
logicalOr = logical_or
logicalNot = logical_not
bitwiseAnd = bitwise_and.Scalar
bitwiseXor = bitwise_xor.Tensor
shiftRight = bitwise_right_shift.Tensor_Scalar
repeatInterleave = repeat_interleave.self_Tensor
isfinite
isnan
anyAll = any
allAll = all
allclose
equal
view
viewDtype = view.dtype
reshape
flatten = flatten.using_ints
permute
transpose = transpose.int
contiguous
unsqueeze
squeeze = squeeze.dim
expand
repeat
roll
flip
narrow
slice = slice.Tensor
select = select.int
chunk
split = split.Tensor
splitWithSizes = split_with_sizes
unbind = unbind.int
unfold
unflatten = unflatten.int
movedim = movedim.int
asStrided = as_strided
indexSelect = index_select
index = index.Tensor
indexPut_ = index_put_
gather
scatterAdd = scatter_add
scatterAdd_ = scatter_add_
scatter_ = scatter_.src
maskedFill = masked_fill.Scalar
maskedSelect = masked_select
constantPadNd = constant_pad_nd
pad
diagonal
tril
triu
to = to.dtype_layout
clone
detach
copy_
fill_ = fill_.Scalar
zero_
bernoulli_ = bernoulli_.float
uniform_
normal_
scalar = item
cat
stack
where = where.self
einsum
linear
weightNorm = _weight_norm
layerNorm = layer_norm
batchNorm = batch_norm
groupNorm = group_norm
conv2d
conv2dPadding = conv2d.padding
conv1d
avgPool2d = avg_pool2d
maxPool2d = max_pool2d
adaptiveAvgPool2d = adaptive_avg_pool2d
upsampleBicubic2d = upsample_bicubic2d
upsampleBilinear2d = upsample_bilinear2d
dropout
zeros
ones
full
empty = empty.memory_format
zerosLike = zeros_like
onesLike = ones_like
emptyLike = empty_like
arange = arange.start_step
linspace
eye
rand
randn
randint = randint.low
randperm
normal = normal.float_float
foreachAdd_ = _foreach_add_.List
foreachAddScalar_ = _foreach_add_.Scalar
foreachMul_ = _foreach_mul_.Scalar
foreachMulScalarList_ = _foreach_mul_.ScalarList
foreachMulList_ = _foreach_mul_.List
foreachAddcmul_ = _foreach_addcmul_.Scalar
foreachAddcdiv_ = _foreach_addcdiv_.Scalar
foreachDivScalar_ = _foreach_div_.Scalar
foreachSqrt = _foreach_sqrt
foreachNorm = _foreach_norm.Scalar
foreachZero_ = _foreach_zero_
`;
