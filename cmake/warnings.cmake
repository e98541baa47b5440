# Language level and warnings of every target of the project. A warning is an error.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

add_library(filigree_warnings INTERFACE)
target_compile_options(filigree_warnings INTERFACE -Wall -Wextra -Werror -Wno-sign-compare)
# The same bits on every machine: the compiler must not fuse, reorder or assume anything of floating point by itself.
target_compile_options(filigree_warnings INTERFACE -ffp-contract=off -fno-fast-math)
# Release keeps assertions of contracts (CHECK is our own and does not depend on NDEBUG).
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -DNDEBUG -g1")
