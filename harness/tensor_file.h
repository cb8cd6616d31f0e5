// Named tensors in the files of `pareto eval` and of distribution "file".
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "harness/tensor.h"

namespace pareto {

/// The file's path in "FILE.h5:/group/path".
std::string file_of(const std::string& path_spec);
/// The files that `read_tensors` reads.
std::vector<std::filesystem::path> files_of(const std::string& path_spec);

/// Reads every dataset of "FILE.h5", "FILE.h5:/group/path" or "FILE.safetensors", subgroups apart,
/// or the matrix of "FILE.mtx" or "FILE.smtx" (matrix_file.h). "FOLDER:/FILE" is the same as
/// "FOLDER/FILE"; files joined by commas are read together, no tensor twice.
/// Floats of any width become fp32; int8, uint8 and int32 stay, other integers become int32 if
/// every value fits, booleans uint8; uint16 with the attribute dtype = "bf16" is bfloat16. Scalars
/// get the shape [1]. InputError names the file and the dataset.
TensorMap read_tensors(const std::string& path_spec);

/// Writes "FILE.h5", "FILE.h5:/group/path" or "FILE.safetensors" anew: fp64 and integers as they
/// are, every other type as fp32. The file appears whole or not at all. MachineError names the path
/// and the reason (disk full, read-only).
void write_tensors(const std::string& path_spec, const TensorMap& tensors);

}  // namespace pareto
