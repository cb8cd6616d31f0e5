# `cmake --install build --prefix DIR`: a folder that runs wherever it is put.
