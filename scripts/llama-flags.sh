# How llama.cpp is built, for the libraries and for llama-server alike (so that they can be compared).
# Sourced. OpenMP is off: ggml's own threads can be told to wait without spinning; OpenMP's cannot.
llama_flags=(
    -DCMAKE_BUILD_TYPE=Release
    -DBUILD_SHARED_LIBS=OFF
    -DCMAKE_POSITION_INDEPENDENT_CODE=ON
    -DGGML_NATIVE=ON
    -DGGML_OPENMP=OFF
    -DGGML_CCACHE=OFF
    -DLLAMA_CURL=OFF
    -DLLAMA_OPENSSL=OFF
    -DLLAMA_BUILD_TESTS=OFF
    -DLLAMA_BUILD_EXAMPLES=OFF
)

# Headers of ggml's own that are installed beside its public ones: by them our kernels for weights come in
# where its own do (src/engine/panel_buffer.cpp).
llama_inner_headers=(ggml-backend-impl.h ggml-impl.h ggml-cpu/ggml-cpu-impl.h ggml-cpu/traits.h)

# The build is for this CPU: on another one (a moved disk, a new image) it must be made again.
cpu_flags() { grep -m1 -E '^(flags|Features)' /proc/cpuinfo || uname -m; }
