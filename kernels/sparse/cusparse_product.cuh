// What the cuSPARSE baselines share: the library opened at run time, and y = x · Wᵀ as its product
// of a sparse matrix with a dense one (SpMM) or with a vector (SpMV).
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
  decltype(&cusparseCreateDnVec) create_vector;
  decltype(&cusparseDestroyDnVec) destroy_vector;
  decltype(&cusparseDnVecSetValues) set_vector_values;
  decltype(&cusparseSpMV_bufferSize) vector_buffer_size;
  decltype(&cusparseSpMV) multiply_vector;
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
    find(l.create_vector, "cusparseCreateDnVec");
    find(l.destroy_vector, "cusparseDestroyDnVec");
    find(l.set_vector_values, "cusparseDnVecSetValues");
    find(l.vector_buffer_size, "cusparseSpMV_bufferSize");
    find(l.multiply_vector, "cusparseSpMV");
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
struct DestroyVector {
  void operator()(cusparseDnVecDescr_t vector) const {
    static_cast<void>(CusparseLibrary::get().destroy_vector(vector));
  }
};
using CusparseSparse = std::unique_ptr<std::remove_pointer_t<cusparseSpMatDescr_t>, DestroySparse>;
using CusparseDense = std::unique_ptr<std::remove_pointer_t<cusparseDnMatDescr_t>, DestroyDense>;
using CusparseVector = std::unique_ptr<std::remove_pointer_t<cusparseDnVecDescr_t>, DestroyVector>;

/// y = x · Wᵀ as one of the library's products. Every function returns its status but for `make`,
/// which throws CannotRunError.
struct CusparseSpmm {
  using Algorithm = cusparseSpMMAlg_t;
  using Operand = CusparseDense;

  /// Column-major [rows, columns]. The values come with each call; the library wants some that are
  /// not null.
  static Operand make(std::int64_t rows, std::int64_t columns, cudaDataType_t type, void* values) {
    cusparseDnMatDescr_t made = nullptr;
    check_cusparse(CusparseLibrary::get().create_dense(&made, rows, columns, rows == 0 ? 1 : rows,
                                                       values, type, CUSPARSE_ORDER_COL),
                   "cusparseCreateDnMat");
    return Operand(made);
  }
  static cusparseStatus_t set_values(const Operand& operand, void* values) {
    return CusparseLibrary::get().set_values(operand.get(), values);
  }
  static cusparseStatus_t buffer_size(const CusparseSparse& w, const Operand& x, const Operand& y,
                                      Algorithm algorithm, std::size_t* bytes) {
    const CusparseLibrary& l = CusparseLibrary::get();
    return l.buffer_size(l.handle, kAsIs, kAsIs, &kOne, w.get(), x.get(), &kZero, y.get(),
                         CUDA_R_32F, algorithm, bytes);
  }
  static cusparseStatus_t multiply(const CusparseSparse& w, const Operand& x, const Operand& y,
                                   Algorithm algorithm, void* workspace) {
    const CusparseLibrary& l = CusparseLibrary::get();
    return l.multiply(l.handle, kAsIs, kAsIs, &kOne, w.get(), x.get(), &kZero, y.get(), CUDA_R_32F,
                      algorithm, workspace);
  }

 private:
  static constexpr cusparseOperation_t kAsIs = CUSPARSE_OPERATION_NON_TRANSPOSE;
  static constexpr float kOne = 1;
  static constexpr float kZero = 0;
};

/// The same of one row of x.
struct CusparseSpmv {
  using Algorithm = cusparseSpMVAlg_t;
  using Operand = CusparseVector;

  /// A vector of `rows`; there is one column.
  static Operand make(std::int64_t rows, std::int64_t /*columns*/, cudaDataType_t type,
                      void* values) {
    cusparseDnVecDescr_t made = nullptr;
    check_cusparse(CusparseLibrary::get().create_vector(&made, rows, values, type),
                   "cusparseCreateDnVec");
    return Operand(made);
  }
  static cusparseStatus_t set_values(const Operand& operand, void* values) {
    return CusparseLibrary::get().set_vector_values(operand.get(), values);
  }
  static cusparseStatus_t buffer_size(const CusparseSparse& w, const Operand& x, const Operand& y,
                                      Algorithm algorithm, std::size_t* bytes) {
    const CusparseLibrary& l = CusparseLibrary::get();
    return l.vector_buffer_size(l.handle, kAsIs, &kOne, w.get(), x.get(), &kZero, y.get(),
                                CUDA_R_32F, algorithm, bytes);
  }
  static cusparseStatus_t multiply(const CusparseSparse& w, const Operand& x, const Operand& y,
                                   Algorithm algorithm, void* workspace) {
    const CusparseLibrary& l = CusparseLibrary::get();
    return l.multiply_vector(l.handle, kAsIs, &kOne, w.get(), x.get(), &kZero, y.get(), CUDA_R_32F,
                             algorithm, workspace);
  }

 private:
  static constexpr cusparseOperation_t kAsIs = CUSPARSE_OPERATION_NON_TRANSPOSE;
  static constexpr float kOne = 1;
  static constexpr float kZero = 0;
};

/// y = x · Wᵀ for a sparse W, by the fastest of some algorithms: chosen once per process for the
/// same sizes and types, so that a rotation over many operands does not mix them.
template <typename Form>
class CusparseProduct : public Prepared {
 public:
  using Algorithm = typename Form::Algorithm;

  CusparseProduct(const SparseProblem& p, CusparseSparse w, std::span<const Algorithm> algorithms)
      : p_(p), w_(std::move(w)) {
    if (p.M == 0 || p.N == 0) return;
    void* none = device().stream();
    x_ = Form::make(p.K, p.M, cusparse_type(p.dtype), none);
    y_ = Form::make(p.N, p.M, cusparse_type(p.out_dtype), none);
    using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, DType, DType, std::int64_t>;
    static std::map<Key, Algorithm> chosen;
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
  bool done(cusparseStatus_t status) {
    if (status != CUSPARSE_STATUS_SUCCESS) refusal_ = status;
    return status == CUSPARSE_STATUS_SUCCESS;
  }

  bool start(void* x, void* y) {
    return done(Form::set_values(x_, x)) && done(Form::set_values(y_, y)) &&
           done(Form::multiply(w_, x_, y_, algorithm_, workspace_.data()));
  }

  // With its workspace; false if the library refuses it.
  bool set_algorithm(Algorithm algorithm) {
    std::size_t bytes = 0;
    if (!done(Form::buffer_size(w_, x_, y_, algorithm, &bytes))) return false;
    algorithm_ = algorithm;
    workspace_ = DeviceBuffer<std::byte>(static_cast<std::int64_t>(bytes));
    return true;
  }

  Algorithm fastest(std::span<const Algorithm> algorithms) {
    const DeviceBuffer<float> x(p_.M * p_.K + 1);  // wide enough for every type
    const DeviceBuffer<float> y(p_.M * p_.N);
    device().fill(x.data(), 0, x.bytes());
    constexpr double kNone = std::numeric_limits<double>::infinity();
    double best_s = kNone;
    Algorithm best{};
    for (const Algorithm algorithm : algorithms) {
      if (!set_algorithm(algorithm) || !start(x.data(), y.data())) continue;
      device().synchronize();
      const auto recording = device().record([&] { static_cast<void>(start(x.data(), y.data())); });
      const double seconds = device().time(*recording).seconds;
      if (seconds >= best_s) continue;
      best_s = seconds;
      best = algorithm;
    }
    if (best_s == kNone) {
      throw CannotRunError("cuSPARSE: no algorithm takes these types and sizes: status " +
                           std::to_string(refusal_));
    }
    return best;
  }

  SparseProblem p_;
  CusparseSparse w_;
  typename Form::Operand x_;
  typename Form::Operand y_;
  DeviceBuffer<std::byte> workspace_;
  Algorithm algorithm_{};
  cusparseStatus_t refusal_ = CUSPARSE_STATUS_SUCCESS;  ///< the last
};

}  // namespace pareto
