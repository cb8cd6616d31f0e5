// Files of the safetensors format: an 8-byte header length, a JSON header, raw little-endian data.
#pragma once

#include <string>

#include "harness/tensor.h"

namespace pareto {

/// All tensors of a file: F32, F64, F16 and BF16 become fp32; I8, U8 and I32 stay; BOOL becomes
/// uint8; I16, U16, U32 and I64 become int32 if every value fits. The header is validated whole
/// (offsets inside the file, without holes or overlaps, sizes that match the shapes). InputError
/// names the file and the tensor. Source: the format's description in its README.
TensorMap read_safetensors(const std::string& path);

/// Writes fp64, int8, uint8, int32 and int64 as they are and other types as F32, by way of a
/// temporary name. MachineError names the path and the reason.
void write_safetensors(const std::string& path, const TensorMap& tensors);

}  // namespace pareto
