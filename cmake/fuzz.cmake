# add_fuzz_target(NAME USES rooms...): tests/fuzz/NAME_fuzz.cc is the program fuzz_NAME.
#
# By default it has a main of its own (tests/fuzz/driver.cc) that runs the seeds and mutations of them, the same ones every
# time: tests fuzz/NAME, 5 s, and fuzz/NAME_60s with the label `fuzz`. With FILIGREE_FUZZ (clang only; preset `fuzz`) rooms
# are compiled with coverage and it is a libFuzzer program:
#   build/release/tests/fuzz/fuzz_NAME --write-corpus corpus && build/fuzz/tests/fuzz/fuzz_NAME corpus
option(FILIGREE_FUZZ "Build fuzz targets for libFuzzer" OFF)
if(FILIGREE_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "FILIGREE_FUZZ needs clang: configure with the preset fuzz, or with -DCMAKE_CXX_COMPILER=clang++")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# What every target has: a main, or the entry of libFuzzer.
function(add_fuzz_driver)
  if(FILIGREE_FUZZ)
    set(sources libfuzzer.cc)
  else()
    set(sources driver.cc mutator.cc)
  endif()
  add_library(fuzz_driver OBJECT ${sources})
  target_include_directories(fuzz_driver PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(fuzz_driver PRIVATE filigree_warnings CLI11::CLI11 fmt::fmt)
  list(TRANSFORM sources PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  filigree_check_includes(fuzz_driver tests/fuzz "${sources}" tests/fuzz)
endfunction()

function(add_fuzz_target name)
  cmake_parse_arguments(ARG "" "" "USES" ${ARGN})
  set(target fuzz_${name})
  add_executable(${target} ${name}_fuzz.cc $<TARGET_OBJECTS:fuzz_driver>)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${target} PRIVATE filigree_warnings fmt::fmt)
  filigree_use_rooms(${target} PRIVATE tests/fuzz "${ARG_USES}")
  filigree_check_includes(${target} tests/fuzz "${CMAKE_CURRENT_SOURCE_DIR}/${name}_fuzz.cc" "tests/fuzz;${ARG_USES}")
  add_dependencies(${target} fuzz_driver_includes)
  if(FILIGREE_FUZZ)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    return()
  endif()
  add_test(NAME fuzz/${name} COMMAND ${target} --seconds 5)
  add_test(NAME fuzz/${name}_60s COMMAND ${target} --seconds 60 --seed 2)
  set_tests_properties(fuzz/${name} PROPERTIES TIMEOUT 120)
  set_tests_properties(fuzz/${name}_60s PROPERTIES TIMEOUT 300 LABELS fuzz)
endfunction()
