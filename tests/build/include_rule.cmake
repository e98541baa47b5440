# Proves that the include rule of cmake/room.cmake stops a build, and stops nothing else.
#   cmake -DROOT=/repository -DWORK=/scratch/folder -DGENERATOR=Ninja -P include_rule.cmake
# Builds the small project in scratch/ as it is, then once more for every way to break the rule, each bent in one file.
cmake_policy(SET CMP0057 NEW)
set(pristine ${CMAKE_CURRENT_LIST_DIR}/scratch)
set(failures 0)

# Lays the scratch project anew and configures it; arguments are definitions. Sets `result` and `output`.
macro(lay_project)
  file(REMOVE_RECURSE ${WORK})
  file(COPY ${pristine}/ DESTINATION ${WORK})
  file(COPY ${ROOT}/cmake DESTINATION ${WORK})
  execute_process(COMMAND ${CMAKE_COMMAND} -G ${GENERATOR} -S ${WORK} -B ${WORK}/build ${ARGN}
                  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
endmacro()

macro(build target)
  execute_process(COMMAND ${CMAKE_COMMAND} --build ${WORK}/build --target ${target}
                  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
endmacro()

function(report name ok)
  if(ok)
    message(STATUS "ok    ${name}")
  else()
    message(STATUS "MISS  ${name}\n${output}")
    math(EXPR failures "${failures} + 1")
    set(failures ${failures} PARENT_SCOPE)
  endif()
endfunction()

macro(expect_built name)
  if(result EQUAL 0)
    report("${name}" TRUE)
  else()
    report("${name}: should have been built" FALSE)
  endif()
endmacro()

# The whole text must be in the output, whatever line breaks CMake puts in.
macro(expect_stopped name text)
  string(REGEX REPLACE "[ \n]+" " " flat "${output}")
  string(FIND "${flat}" "${text}" at)
  if(NOT result EQUAL 0 AND NOT at EQUAL -1)
    report("${name}" TRUE)
  else()
    report("${name}: should have been stopped with \"${text}\"" FALSE)
  endif()
endmacro()

# `file` of the scratch project gets `line` in front, `target` is built and must stop with `text`; then the file is as before.
function(stops name file line target text)
  file(READ ${pristine}/${file} before)
  file(WRITE ${WORK}/${file} "${line}\n${before}")
  build(${target})
  expect_stopped("${name}" "${text}")
  file(WRITE ${WORK}/${file} "${before}")
  set(failures ${failures} PARENT_SCOPE)
endfunction()

set(include_config "#include \"worker/config/settings.h\"")
set(undeclared "does not declare worker/config in USES")
set(from_root "write the path from the root of the repository")

lay_project()
expect_built("the project configures")
build(all)
expect_built("declared includes, own private headers and tests/support")
stops("an undeclared room in a source" worker/bench/bench.cc "${include_config}" worker_bench
      "includes \"worker/config/settings.h\", but worker/bench ${undeclared}")
stops("an undeclared room in a header" worker/bench/bench.h "${include_config}" worker_bench "worker/bench ${undeclared}")
stops("an undeclared room in a header that no list names" worker/bench/detail.h "${include_config}" worker_bench
      "detail.h: includes \"worker/config/settings.h\", but worker/bench ${undeclared}")
stops("an undeclared room in a CUDA file, CUDA or not" worker/bench/bench_cuda.cu "${include_config}" worker_bench
      "bench_cuda.cu: includes")
stops("angle brackets" worker/bench/bench.cc "#include <worker/config/settings.h>" worker_bench "worker/bench ${undeclared}")
stops("blanks around the hash" worker/bench/bench.cc "  #  include   \"worker/config/settings.h\"" worker_bench
      "worker/bench ${undeclared}")
stops("a line that CMake's lists trip over before it" worker/bench/bench.cc "#include <vector>  // [a;b\n${include_config}"
      worker_bench "worker/bench ${undeclared}")
stops("a continued line" worker/bench/bench.cc "#include \\\n  \"worker/config/settings.h\"" worker_bench
      "worker/bench ${undeclared}")
stops("a program" worker/cli/main.cc "${include_config}" scratch "worker/cli ${undeclared}")
stops("a test" tests/worker/bench/bench_test.cc "${include_config}" worker_bench_bench_test "tests/worker/bench ${undeclared}")
stops("a relative path" worker/bench/bench.cc "#include \"../config/settings.h\"" worker_bench "${from_root}")
stops("a way around through another folder" worker/bench/bench.cc "#include \"cmake/../worker/config/settings.h\""
      worker_bench "${from_root}")
stops("a neighbour by its bare name" worker/bench/bench.cc "#include \"detail.h\"" worker_bench "${from_root}")
stops("a macro" worker/bench/bench.cc "#define SETTINGS \"worker/config/settings.h\"\n#include SETTINGS" worker_bench
      "name the file itself")
build(all)
expect_built("the project as it was")

lay_project(-DCONFIG_USERS=worker/config)
foreach(file worker/bench/bench.cc worker/cli/main.cc tests/worker/bench/bench_test.cc)
  file(READ ${pristine}/${file} before)
  file(WRITE ${WORK}/${file} "${include_config}\n${before}")
endforeach()
build(all)
expect_built("the same includes, declared")

lay_project(-DCOLOR_USES=worker/bench)
expect_stopped("a room that uses one below it" "worker/color uses worker/bench, which stands below it")

lay_project(-DLOOSE_TARGET=ON)
expect_stopped("a program declared past the rule" "loose in ${WORK} is built without a check of its includes")

if(failures GREATER 0)
  message(FATAL_ERROR "${failures} expectations missed")
endif()
