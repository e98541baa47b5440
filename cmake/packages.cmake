# Every library we use, found once. deploy/install.sh installs them all from Debian.
find_package(Threads REQUIRED)
find_package(hwy REQUIRED)
find_package(absl REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(nlohmann_json REQUIRED)
# Dense products to compare with (worker/bench); its threads are OpenMP's, ours are our own.
find_package(dnnl REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(GTest REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto SSL)
# The coordinator's wire.
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)
# Ranks: Open MPI (only filigree_mpi.so is linked to it) and Gloo.
find_package(MPI REQUIRED COMPONENTS CXX)
find_package(Gloo REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET libpcre2-8)
# Metrics: what they are (prometheus-cpp) and the HTTP server that shows them; it is built with more than is used here.
pkg_check_modules(prometheus REQUIRED IMPORTED_TARGET prometheus-cpp-core)
pkg_check_modules(httplib REQUIRED IMPORTED_TARGET cpp-httplib)
# The journal of the coordinator.
pkg_check_modules(sqlite3 REQUIRED IMPORTED_TARGET sqlite3)

# ccache makes the second build of a machine short; it is never needed.
find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
