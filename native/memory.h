// How memory of large CPU tensors is kept from step to step.
#pragma once

namespace esvit {

// Makes libtorch take large CPU blocks from a store of freed ones. Safe to call from every environment.
void keepLargeBlocks();

}  // namespace esvit
