# The third-party sources that are built from source, pinned. Sourced by the build scripts.
yyjson_version=4.0.6
yyjson_sha256=fcd4dc15c1e39a30bf9fa85d56903029111506860fc3080ab0d81c6c6dacaa8c
yyjson_file=yyjson-$yyjson_version.tar.gz

# llama.cpp comes inside this package, under vendor/llama.cpp.
llama_version=0.3.36
llama_sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
llama_file=llama_cpp_python-$llama_version.tar.gz
