# FILIGREE_SANITIZE is a comma list for -fsanitize; the presets asan-ubsan and tsan set it.
set(FILIGREE_SANITIZE "" CACHE STRING "Sanitizers to build with, e.g. address,undefined or thread")
if(FILIGREE_SANITIZE)
  add_compile_options(-fsanitize=${FILIGREE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -g1)
  add_link_options(-fsanitize=${FILIGREE_SANITIZE})
endif()
