# Every preset configures, and so does the release preset without CUDA.
#   cmake -DROOT=/repository -DWORK=/scratch/folder -P presets.cmake
function(configures name preset)
  execute_process(COMMAND ${CMAKE_COMMAND} --preset ${preset} -B ${WORK}/${name} ${ARGN} WORKING_DIRECTORY ${ROOT}
                  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${name} does not configure:\n${output}")
  endif()
  message(STATUS "ok    ${name}")
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${WORK})
foreach(preset debug asan-ubsan tsan)
  configures(${preset} ${preset})
endforeach()
find_program(CLANG NAMES clang++)
if(CLANG)
  configures(fuzz fuzz)
endif()
configures(without-cuda release -DFILIGREE_CUDA=OFF)
if(NOT output MATCHES "CUDA: OFF")
  message(FATAL_ERROR "FILIGREE_CUDA=OFF was not heard:\n${output}")
endif()
