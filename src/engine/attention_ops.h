/* The shim by which ggml's CPU backend computes attention with our kernels (attention.h): for what
 * extra_buffer_type::get_tensor_traits() of panel_buffer.cpp is asked. C++. */
#pragma once

#include <ggml-cpu/traits.h>

/* Before any graph is computed. */
void attention_ops_init(void);

/* What computes the operation: keys times queries and values times shares of prompts (two tokens or
 * more), and any soft maximum of rows. NULL: the library does. Any thread. */
ggml::cpu::tensor_traits *attention_traits(const ggml_tensor *op);
