#include "harness/cublaslt.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <tuple>

#include "harness/cuda_library.h"
#include "harness/device.h"
#include "harness/device_buffer.h"
#include "harness/errors.h"

namespace pareto {
namespace {

constexpr std::int64_t kWorkspaceBytes = std::int64_t{32} << 20U;  // what Hopper's kernels want
constexpr int kAlgorithms = 8;

/// The functions in use, with the types of the header.
struct Library {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtMatmulDescCreate) operation_create;
  decltype(&cublasLtMatmulDescDestroy) operation_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) operation_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmul) matmul;
  cublasLtHandle_t handle = nullptr;
};

void check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw CannotRunError(fmt::format("cuBLASLt: {}: status {}", what, static_cast<int>(status)));
}

Library open_library() {
  void* file = open_cuda_library(kCublasLtSoname);
  Library lt{};
  const auto find = [file]<typename Function>(Function& function, const char* name) {
    function = reinterpret_cast<Function>(cuda_symbol(file, name));
  };
  find(lt.create, "cublasLtCreate");
  find(lt.operation_create, "cublasLtMatmulDescCreate");
  find(lt.operation_destroy, "cublasLtMatmulDescDestroy");
  find(lt.operation_set, "cublasLtMatmulDescSetAttribute");
  find(lt.layout_create, "cublasLtMatrixLayoutCreate");
  find(lt.layout_destroy, "cublasLtMatrixLayoutDestroy");
  find(lt.preference_create, "cublasLtMatmulPreferenceCreate");
  find(lt.preference_destroy, "cublasLtMatmulPreferenceDestroy");
  find(lt.preference_set, "cublasLtMatmulPreferenceSetAttribute");
  find(lt.heuristic, "cublasLtMatmulAlgoGetHeuristic");
  find(lt.matmul, "cublasLtMatmul");
  check(lt.create(&lt.handle), "cublasLtCreate");
  return lt;
}

const Library& library() {
  static const Library instance = open_library();
  return instance;
}

// Never freed: the device may be gone before static objects are.
const DeviceBuffer<std::byte>& workspace() {
  static const auto* shared = new DeviceBuffer<std::byte>(kWorkspaceBytes);
  return *shared;
}

std::int64_t bytes_of(cudaDataType_t type) {
  switch (type) {
    case CUDA_R_32F:
    case CUDA_R_32I:
      return 4;
    case CUDA_R_16F:
    case CUDA_R_16BF:
      return 2;
    default:
      return 1;
  }
}

}  // namespace

// Row-major x · wᵀ is, column-major, A = w transposed times B = x: the "TN" form, the only one that
// int8 and fp8 have.
struct LtProduct::Descriptors {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t w = nullptr;
  cublasLtMatrixLayout_t x = nullptr;
  cublasLtMatrixLayout_t y = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;
  bool integers = false;

  ~Descriptors() {
    const Library& lt = library();
    if (preference != nullptr) lt.preference_destroy(preference);
    for (cublasLtMatrixLayout_t layout : {w, x, y}) {
      if (layout != nullptr) lt.layout_destroy(layout);
    }
    if (operation != nullptr) lt.operation_destroy(operation);
  }
};

LtProduct::LtProduct(std::int64_t M, std::int64_t N, std::int64_t K, const LtTypes& types) {
  const Library& lt = library();
  descriptors_ = std::make_unique<Descriptors>();
  Descriptors& d = *descriptors_;
  d.integers = types.compute == CUBLAS_COMPUTE_32I;
  check(lt.operation_create(&d.operation, types.compute, d.integers ? CUDA_R_32I : CUDA_R_32F),
        "cublasLtMatmulDescCreate");
  const cublasOperation_t transposed = CUBLAS_OP_T;
  check(lt.operation_set(d.operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)),
        "transposed w");
  if (types.fast_accumulation) {
    const std::int8_t fast = 1;
    check(lt.operation_set(d.operation, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast, sizeof(fast)),
          "fast accumulation");
  }
  if (types.block_scales) {
    const auto of_w = static_cast<std::int32_t>(CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F);
    const auto of_x = static_cast<std::int32_t>(CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F);
    check(lt.operation_set(d.operation, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &of_w, sizeof(of_w)),
          "blocks of scales of w");
    check(lt.operation_set(d.operation, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &of_x, sizeof(of_x)),
          "vectors of scales of x");
  }
  const auto rows = [](std::int64_t size) { return static_cast<std::uint64_t>(size); };
  check(lt.layout_create(&d.w, types.w, rows(K), rows(N), K), "layout of w");
  check(lt.layout_create(&d.x, types.x, rows(K), rows(M), K), "layout of x");
  check(lt.layout_create(&d.y, types.y, rows(N), rows(M), N), "layout of y");
  check(lt.preference_create(&d.preference), "cublasLtMatmulPreferenceCreate");
  const auto workspace = static_cast<std::uint64_t>(kWorkspaceBytes);
  check(lt.preference_set(d.preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                          sizeof(workspace)),
        "size of the workspace");
  using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, int, int, int, int, bool, bool>;
  static std::map<Key, cublasLtMatmulAlgo_t> chosen;
  const Key key{M,
                N,
                K,
                types.x,
                types.w,
                types.y,
                types.compute,
                types.fast_accumulation,
                types.block_scales};
  if (!chosen.contains(key)) chosen.emplace(key, fastest(M, N, K, types));
  algorithm_ = chosen.at(key);
}

LtProduct::~LtProduct() = default;

void LtProduct::set_block_scales(const float* x, const float* w) {
  const auto set = library().operation_set;
  cublasLtMatmulDesc_t operation = descriptors_->operation;
  check(
      set(operation, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, static_cast<const void*>(&w), sizeof(w)),
      "scales of w");
  check(
      set(operation, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, static_cast<const void*>(&x), sizeof(x)),
      "scales of x");
}

cublasLtMatmulAlgo_t LtProduct::fastest(std::int64_t M, std::int64_t N, std::int64_t K,
                                        const LtTypes& types) {
  Descriptors& d = *descriptors_;
  // Wide enough for either operand's scales, padded rows included.
  DeviceBuffer<float> scales;
  if (types.block_scales) {
    scales = DeviceBuffer<float>((K / 128 + 4) * std::max(M, N / 128 + 1));
    device().fill(scales.data(), 0, scales.bytes());
    set_block_scales(scales.data(), scales.data());
  }
  std::array<cublasLtMatmulHeuristicResult_t, kAlgorithms> found{};
  int count = 0;
  check(library().heuristic(library().handle, d.operation, d.w, d.x, d.y, d.y, d.preference,
                            kAlgorithms, found.data(), &count),
        "no algorithm for these types and sizes");
  const DeviceBuffer<std::byte> x(M * K * bytes_of(types.x));
  const DeviceBuffer<std::byte> w(N * K * bytes_of(types.w));
  const DeviceBuffer<std::byte> y(M * N * bytes_of(types.y));
  device().fill(x.data(), 0, x.bytes());
  device().fill(w.data(), 0, w.bytes());
  constexpr double kNone = std::numeric_limits<double>::infinity();
  double best_s = kNone;
  cublasLtMatmulAlgo_t best{};
  for (int i = 0; i < count; ++i) {
    const cublasLtMatmulAlgo_t& algorithm = found[static_cast<std::size_t>(i)].algo;
    // The first call loads the kernel; a proposal may still be refused.
    if (!start(algorithm, x.data(), w.data(), y.data())) continue;
    device().synchronize();
    const auto recording =
        device().record([&] { static_cast<void>(start(algorithm, x.data(), w.data(), y.data())); });
    const double seconds = device().time(*recording).seconds;
    if (seconds >= best_s) continue;
    best_s = seconds;
    best = algorithm;
  }
  if (best_s == kNone) throw CannotRunError("cuBLASLt: no algorithm runs for these types, sizes");
  return best;
}

bool LtProduct::start(const cublasLtMatmulAlgo_t& algorithm, const void* x, const void* w,
                      void* y) {
  const Descriptors& d = *descriptors_;
  const float one = 1;
  const float zero = 0;
  const std::int32_t one_integer = 1;
  const std::int32_t zero_integer = 0;
  const void* alpha = d.integers ? static_cast<const void*>(&one_integer) : &one;
  const void* beta = d.integers ? static_cast<const void*>(&zero_integer) : &zero;
  return library().matmul(library().handle, d.operation, alpha, w, d.w, x, d.x, beta, y, d.y, y,
                          d.y, &algorithm, workspace().data(), workspace().bytes(),
                          static_cast<cudaStream_t>(device().stream())) == CUBLAS_STATUS_SUCCESS;
}

void LtProduct::run(const void* x, const void* w, void* y) {
  if (!start(algorithm_, x, w, y)) device_failed("cuBLASLt", "the product was refused");
}

}  // namespace pareto
