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
    return encoded({.data = data, .dtype = dtype, .rows = rows, .columns = columns}, box_rows, 2);
  }
  /// The same of data [slices, stored_rows, columns], of which the first `rows` of each slice
  /// exist: boxes of one slice.
  struct Slices {
    const void* data = nullptr;
    DType dtype = DType::kBf16;
    std::int64_t slices = 1;
    std::int64_t stored_rows = 0;
    std::int64_t rows = 0;
    std::int64_t columns = 0;
  };
  CUtensorMap of(const Slices& matrices, int box_rows) const {
    return encoded(matrices, box_rows, 3);
  }

 private:
  CUtensorMap encoded(const Slices& of, int box_rows, cuuint32_t rank) const {
    CUtensorMap map{};
    if (of.slices == 0 || of.rows == 0 || of.columns == 0) return map;
    const cuuint64_t element_bytes = of.dtype == DType::kS8 ? 1 : 2;
    const cuuint64_t row_bytes = element_bytes * static_cast<cuuint64_t>(of.columns);
    const cuuint64_t sizes[3] = {static_cast<cuuint64_t>(of.columns),
                                 static_cast<cuuint64_t>(of.rows),
                                 static_cast<cuuint64_t>(of.slices)};
    const cuuint64_t strides[2] = {row_bytes, row_bytes * static_cast<cuuint64_t>(of.stored_rows)};
    const cuuint32_t box[3] = {static_cast<cuuint32_t>(kBoxBytes / element_bytes),
                               static_cast<cuuint32_t>(box_rows), 1};
    const cuuint32_t every[3] = {1, 1, 1};
    const CUresult result =
        encode_(&map, element_type(of.dtype), rank, const_cast<void*>(of.data), sizes, strides, box,
                every, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (result != CUDA_SUCCESS) {
      device_failed("cuTensorMapEncodeTiled", "error " + std::to_string(result));
    }
    return map;
  }

  static CUtensorMapDataType element_type(DType dtype) {
    if (dtype == DType::kBf16) return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    return dtype == DType::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_UINT8;
  }

  decltype(&cuTensorMapEncodeTiled) encode_ = nullptr;
};

}  // namespace pareto
