# Writes the C source that holds the built page: `cmake -DDIST=web/dist -DOUT=page.c -P embed-page.cmake`.
#
# Each file of DIST becomes one row of the table that src/api/assets.c searches. The bytes come in by the assembler's
# .incbin, so that neither the compiler nor the repository sees them as text. FILE.gz beside FILE is its compressed
# form and no row of its own. Files below assets/ carry their content's hash in the name and never change.
# Without a built page (no index.html) one plain page that says how to build it stands in its place.

cmake_policy(VERSION 3.25)
set(rows "")
set(blobs "")
set(count 0)

function(content_type file ret)
  get_filename_component(ext "${file}" LAST_EXT)
  set(type_html "text/html; charset=utf-8")
  set(type_js "text/javascript; charset=utf-8")
  set(type_css "text/css; charset=utf-8")
  set(type_svg "image/svg+xml")
  set(type_png "image/png")
  set(type_txt "text/plain; charset=utf-8")
  set(type_webmanifest "application/manifest+json")
  string(SUBSTRING "${ext}" 1 -1 ext)
  if(NOT DEFINED type_${ext})
    message(FATAL_ERROR "embed-page: no content type for ${file}: add its extension here")
  endif()
  set(${ret} "${type_${ext}}" PARENT_SCOPE)
endfunction()

macro(add_blob file)
  string(APPEND blobs "__asm__(\".section .rodata\\n.balign 16\\n.global page_blob_${count}\\npage_blob_${count}:\\n\"\n"
    "        \".incbin \\\"${file}\\\"\\n.byte 0\\n.previous\\n\");\nextern const char page_blob_${count}[];\n\n")
  file(SIZE "${file}" blob_size)
  set(blob "{page_blob_${count}, ${blob_size}}")
  math(EXPR count "${count} + 1")
endmacro()

file(GLOB_RECURSE files RELATIVE "${DIST}" "${DIST}/*")
list(FILTER files EXCLUDE REGEX "\\.gz$")
list(SORT files) # bytewise: asset_find searches by halving
if(NOT "index.html" IN_LIST files)
  set(files "")
  set(rows "    {{\"/index.html\", 11}, \"text/html; charset=utf-8\", \"\\\"unbuilt\\\"\", {PLAIN, sizeof(PLAIN) - 1}, {0}, false},\n")
  string(APPEND blobs "#define PLAIN \"<!doctype html><meta charset=utf-8><title>Parley</title><h1>Parley is running</h1>\" \\\n"
    "    \"<p>This build has no page in it. Build it with <code>npm ci && npm run build</code> in <code>web/</code>, \" \\\n"
    "    \"then build Parley again. The API at <code>/api/v1</code> and <code>/v1</code> works without it.\\n\"\n\n")
endif()
foreach(file IN LISTS files)
  content_type("${file}" type)
  file(SHA256 "${DIST}/${file}" hash)
  string(SUBSTRING "${hash}" 0 24 etag)
  add_blob("${DIST}/${file}")
  set(body "${blob}")
  set(gzip "{0}")
  if(EXISTS "${DIST}/${file}.gz")
    add_blob("${DIST}/${file}.gz")
    set(gzip "${blob}")
  endif()
  set(immutable false)
  if(file MATCHES "^assets/")
    set(immutable true)
  endif()
  string(LENGTH "/${file}" path_length)
  string(APPEND rows
    "    {{\"/${file}\", ${path_length}}, \"${type}\", \"\\\"${etag}\\\"\", ${body}, ${gzip}, ${immutable}},\n")
endforeach()

file(WRITE "${OUT}.new" "/* Made by cmake/embed-page.cmake. */\n#include \"api/assets.h\"\n\n${blobs}"
  "const struct asset asset_table[] = {\n${rows}};\nconst size_t asset_table_count = sizeof(asset_table) / sizeof(asset_table[0]);\n")
file(RENAME "${OUT}.new" "${OUT}")
