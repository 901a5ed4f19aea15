# Writes OUT, a C file with the bytes of IN under the name SYMBOL: cmake -DIN= -DOUT= -DSYMBOL= -P embed-file.cmake
file(READ ${IN} hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
file(WRITE ${OUT} "/* Generated from a file of the repository by cmake/embed-file.cmake. */
#include <stddef.h>
extern const unsigned char ${SYMBOL}[];
extern const size_t ${SYMBOL}_size;
const size_t ${SYMBOL}_size = ${size};
_Alignas(16) const unsigned char ${SYMBOL}[] = {${bytes}0}; /* as malloc() aligns */
")
