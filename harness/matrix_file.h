// Files that hold one sparse matrix as text: Matrix Market's .mtx and the .smtx of the DLMC
// collection.
#pragma once

#include <string>

#include "harness/tensor.h"

namespace pareto {

/// True for names that end in .mtx or .smtx.
bool is_matrix_file(const std::string& path);

/// The matrix, written out densely:
///   .mtx   as "matrix", fp32. `%%MatrixMarket matrix coordinate`, real, integer or pattern (whose
///          entries are 1), general, symmetric or skew-symmetric; in any order; duplicate entries
///          are added up in fp64.
///   .smtx  as "pattern", uint8, 1 where an entry is: the format stores no values. `rows, columns,
///          nonzeros`, row offsets, column indices; columns of a row in any order, but each once.
/// InputError names the file, the line and what is wrong there. Sources: NIST, "The Matrix Market
/// Exchange Formats" (NISTIR 5935); the description of DLMC in Google's state_of_sparsity.
TensorMap read_matrix_file(const std::string& path);

}  // namespace pareto
