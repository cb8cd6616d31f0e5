// Descriptions of matrices for TMA, without linking against the driver.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <string>

#include "kernels/cuda_launch.cuh"

namespace pareto {

/// Boxes of TMA in row-major matrices: columns of 128 bytes, one span of the swizzle, × some rows.
/// What lies outside of the matrix is zero.
class TensorMaps {
 public:
  static constexpr int kBoxBytes = 128;

  TensorMaps() {
    cudaDriverEntryPointQueryResult found{};
    void* entry = nullptr;
    check_cuda(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000,
                                                cudaEnableDefault, &found),
               "cuTensorMapEncodeTiled");
    if (found != cudaDriverEntryPointSuccess || entry == nullptr) {
      throw CannotRunError("this driver has no cuTensorMapEncodeTiled");
    }
    encode_ = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry);
  }

  /// data [rows, columns] of bf16, fp16 or s8, 16-byte aligned, and so are its rows; 1 … 256 rows
  /// of a box. Of an empty matrix: a map that nothing may be loaded through.
  CUtensorMap of(const void* data, DType dtype, std::int64_t rows, std::int64_t columns,
                 int box_rows) const {
    CUtensorMap map{};
    if (rows == 0 || columns == 0) return map;
    const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
    const cuuint64_t element_bytes = dtype == DType::kS8 ? 1 : 2;
    const cuuint64_t row_bytes[1] = {element_bytes * sizes[0]};
    const cuuint32_t box[2] = {static_cast<cuuint32_t>(kBoxBytes / element_bytes),
                               static_cast<cuuint32_t>(box_rows)};
    const cuuint32_t every[2] = {1, 1};
    const CUresult result =
        encode_(&map, element_type(dtype), 2, const_cast<void*>(data), sizes, row_bytes, box, every,
                CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (result != CUDA_SUCCESS) {
      device_failed("cuTensorMapEncodeTiled", "error " + std::to_string(result));
    }
    return map;
  }

 private:
  static CUtensorMapDataType element_type(DType dtype) {
    if (dtype == DType::kBf16) return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    return dtype == DType::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_UINT8;
  }

  decltype(&cuTensorMapEncodeTiled) encode_ = nullptr;
};

}  // namespace pareto
