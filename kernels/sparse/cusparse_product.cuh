// What the cuSPARSE baselines share: the library opened at run time, and y = x · Wᵀ as its product
// of a sparse with a dense matrix.
//
// Row-major x [M,K] and y [M,N] are column-major [K,M] and [N,M]: the library computes W · xᵀ, all
// operands as given.
#pragma once

#include <cusparse.h>

#include <cstddef>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <utility>

#include "harness/cuda_library.h"
#include "harness/device_buffer.h"
#include "harness/errors.h"
#include "harness/variant.h"
#include "kernels/cuda_launch.cuh"
#include "reference/sparse.h"

namespace pareto {

inline constexpr const char* kCusparseSoname = "libcusparse.so.12";

inline void check_cusparse(cusparseStatus_t status, const char* what) {
  if (status == CUSPARSE_STATUS_SUCCESS) return;
  throw CannotRunError(std::string("cuSPARSE: ") + what + ": status " + std::to_string(status));
}

/// The functions in use, with the types of the header, and one handle on the harness's stream.
struct CusparseLibrary {
  decltype(&cusparseCreate) create;
  decltype(&cusparseSetStream) set_stream;
  decltype(&cusparseCreateCsr) create_csr;
  decltype(&cusparseCreateBsr) create_bsr;
  decltype(&cusparseDestroySpMat) destroy_sparse;
  decltype(&cusparseCreateDnMat) create_dense;
  decltype(&cusparseDestroyDnMat) destroy_dense;
  decltype(&cusparseDnMatSetValues) set_values;
  decltype(&cusparseSpMM_bufferSize) buffer_size;
  decltype(&cusparseSpMM) multiply;
  cusparseHandle_t handle = nullptr;

  static const CusparseLibrary& get() {
    static const CusparseLibrary instance = open();
    return instance;
  }

 private:
  static CusparseLibrary open() {
    void* file = open_cuda_library(kCusparseSoname);
    CusparseLibrary l{};
    const auto find = [file]<typename Function>(Function& function, const char* name) {
      function = reinterpret_cast<Function>(cuda_symbol(file, name));
    };
    find(l.create, "cusparseCreate");
    find(l.set_stream, "cusparseSetStream");
    find(l.create_csr, "cusparseCreateCsr");
    find(l.create_bsr, "cusparseCreateBsr");
    find(l.destroy_sparse, "cusparseDestroySpMat");
    find(l.create_dense, "cusparseCreateDnMat");
    find(l.destroy_dense, "cusparseDestroyDnMat");
    find(l.set_values, "cusparseDnMatSetValues");
    find(l.buffer_size, "cusparseSpMM_bufferSize");
    find(l.multiply, "cusparseSpMM");
    check_cusparse(l.create(&l.handle), "cusparseCreate");
    check_cusparse(l.set_stream(l.handle, call_stream()), "cusparseSetStream");
    return l;
  }
};

inline cudaDataType_t cusparse_type(DType dtype) {
  return dtype == DType::kBf16 ? CUDA_R_16BF : dtype == DType::kF16 ? CUDA_R_16F : CUDA_R_32F;
}

struct DestroySparse {
  void operator()(cusparseSpMatDescr_t matrix) const {
    static_cast<void>(CusparseLibrary::get().destroy_sparse(matrix));
  }
};
struct DestroyDense {
  void operator()(cusparseDnMatDescr_t matrix) const {
    static_cast<void>(CusparseLibrary::get().destroy_dense(matrix));
  }
};
using CusparseSparse = std::unique_ptr<std::remove_pointer_t<cusparseSpMatDescr_t>, DestroySparse>;
using CusparseDense = std::unique_ptr<std::remove_pointer_t<cusparseDnMatDescr_t>, DestroyDense>;

/// y = x · Wᵀ for a sparse W, by the fastest of some algorithms: chosen once per process for the
/// same sizes and types, so that a rotation over many operands does not mix them.
class CusparseProduct : public Prepared {
 public:
  CusparseProduct(const SparseProblem& p, CusparseSparse w,
                  std::span<const cusparseSpMMAlg_t> algorithms)
      : p_(p), w_(std::move(w)) {
    if (p.M == 0 || p.N == 0) return;
    x_ = dense(p.K, p.M, cusparse_type(p.dtype));
    y_ = dense(p.N, p.M, cusparse_type(p.out_dtype));
    using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, DType, DType, std::int64_t>;
    static std::map<Key, cusparseSpMMAlg_t> chosen;
    const Key key{p.M, p.N, p.K, p.dtype, p.out_dtype, p.block};
    if (!chosen.contains(key)) chosen.emplace(key, fastest(algorithms));
    if (!set_algorithm(chosen.at(key))) throw CannotRunError("cuSPARSE: no size of workspace");
  }

  void run(const Call& call) override {
    if (x_ == nullptr) return;
    if (!start(call.in[kSparseX].data, call.out[kSparseY].data)) {
      device_failed("cuSPARSE", "the product was refused");
    }
  }

 private:
  static CusparseDense dense(std::int64_t rows, std::int64_t columns, cudaDataType_t type) {
    cusparseDnMatDescr_t matrix = nullptr;
    // The values come with each call; the library wants some that are not null.
    void* none = device().stream();
    check_cusparse(CusparseLibrary::get().create_dense(&matrix, rows, columns, rows == 0 ? 1 : rows,
                                                       none, type, CUSPARSE_ORDER_COL),
                   "cusparseCreateDnMat");
    return CusparseDense(matrix);
  }

  bool start(void* x, void* y) {
    const CusparseLibrary& l = CusparseLibrary::get();
    const float one = 1;
    const float zero = 0;
    return l.set_values(x_.get(), x) == CUSPARSE_STATUS_SUCCESS &&
           l.set_values(y_.get(), y) == CUSPARSE_STATUS_SUCCESS &&
           l.multiply(l.handle, CUSPARSE_OPERATION_NON_TRANSPOSE, CUSPARSE_OPERATION_NON_TRANSPOSE,
                      &one, w_.get(), x_.get(), &zero, y_.get(), CUDA_R_32F, algorithm_,
                      workspace_.data()) == CUSPARSE_STATUS_SUCCESS;
  }

  // With its workspace; false if the library refuses it.
  bool set_algorithm(cusparseSpMMAlg_t algorithm) {
    const CusparseLibrary& l = CusparseLibrary::get();
    const float one = 1;
    std::size_t bytes = 0;
    if (l.buffer_size(l.handle, CUSPARSE_OPERATION_NON_TRANSPOSE, CUSPARSE_OPERATION_NON_TRANSPOSE,
                      &one, w_.get(), x_.get(), &one, y_.get(), CUDA_R_32F, algorithm,
                      &bytes) != CUSPARSE_STATUS_SUCCESS) {
      return false;
    }
    algorithm_ = algorithm;
    workspace_ = DeviceBuffer<std::byte>(static_cast<std::int64_t>(bytes));
    return true;
  }

  cusparseSpMMAlg_t fastest(std::span<const cusparseSpMMAlg_t> algorithms) {
    const DeviceBuffer<float> x(p_.M * p_.K + 1);  // wide enough for every type
    const DeviceBuffer<float> y(p_.M * p_.N);
    device().fill(x.data(), 0, x.bytes());
    constexpr double kNone = std::numeric_limits<double>::infinity();
    double best_s = kNone;
    cusparseSpMMAlg_t best{};
    for (const cusparseSpMMAlg_t algorithm : algorithms) {
      if (!set_algorithm(algorithm) || !start(x.data(), y.data())) continue;
      device().synchronize();
      const auto recording = device().record([&] { static_cast<void>(start(x.data(), y.data())); });
      const double seconds = device().time(*recording).seconds;
      if (seconds >= best_s) continue;
      best_s = seconds;
      best = algorithm;
    }
    if (best_s == kNone) {
      throw CannotRunError("cuSPARSE: no algorithm takes these types and sizes");
    }
    return best;
  }

  SparseProblem p_;
  CusparseSparse w_;
  CusparseDense x_;
  CusparseDense y_;
  DeviceBuffer<std::byte> workspace_;
  cusparseSpMMAlg_t algorithm_{};
};

}  // namespace pareto
