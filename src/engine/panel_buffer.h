/* The shim by which ggml's CPU backend keeps Q8_0 weights as panels (q8_panels.h) and multiplies
 * with them. ggml has a list of buffer types that lay weights out anew for the CPU; the list is
 * C++, and this file adds one to it. */
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

/* Once, after the backends are there and before any weights are loaded. Also takes AMX's tiles from
 * the list: loading their configuration is a SIGSEGV in virtual machines that show AMX without
 * letting it be used. */
void panel_buffer_register(void);

#ifdef __cplusplus
}
#endif
