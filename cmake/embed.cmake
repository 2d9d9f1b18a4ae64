# Turns a file into a C array: cmake -DNAME=x -DIN=file -DOUT=x.c -P embed.cmake.  See hone_embed() in CMakeLists.txt.
set(bytes "")
set(size 0)
if(EXISTS "${IN}")
  file(READ "${IN}" hex HEX)
  string(LENGTH "${hex}" digits)
  math(EXPR size "${digits} / 2")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" bytes
    "${bytes}")
endif()
file(WRITE "${OUT}" "#include <stddef.h>
extern const unsigned char embed_${NAME}[];
extern const size_t embed_${NAME}_size;
const unsigned char embed_${NAME}[] = {
${bytes}0};
const size_t embed_${NAME}_size = ${size};
")
