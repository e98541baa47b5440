# FILIGREE_SANITIZE is a comma list for -fsanitize; the presets asan-ubsan and tsan set it.
set(FILIGREE_SANITIZE "" CACHE STRING "Sanitizers to build with, e.g. address,undefined or thread")
# Tests may take so many times longer than in a plain build; the deadlines inside them know it too (tests/support/patience.h).
set(FILIGREE_PATIENCE 1)
if(FILIGREE_SANITIZE MATCHES "thread")
  set(FILIGREE_PATIENCE 10)
elseif(FILIGREE_SANITIZE MATCHES "address")
  set(FILIGREE_PATIENCE 4)
endif()
# SECONDS_600 and so on, for TIMEOUT of a test.
foreach(seconds 120 240 300 600 900)
  math(EXPR SECONDS_${seconds} "${seconds} * ${FILIGREE_PATIENCE}")
endforeach()
if(FILIGREE_SANITIZE)
  add_compile_options(-fsanitize=${FILIGREE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -g1)
  add_link_options(-fsanitize=${FILIGREE_SANITIZE})
endif()

# For tests that start ranks under mpirun. Open MPI leaves memory behind in plugins that it has unloaded, which no suppression can
# name; what such a rank does is searched for leaks in the tests of other backends.
set(FILIGREE_MPI_ENVIRONMENT "ASAN_OPTIONS=detect_leaks=0")
