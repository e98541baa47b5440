# A room is a folder with one library. It may include its own headers, those of the rooms it names in USES, and the
# libraries it names in LIBS; any other include of the project stops the build (cmake/check_includes.cmake).
#
#   add_room(worker/mask
#     HEADERS schedule.h            public headers, listed so that a reader sees the surface
#     SOURCES schedule.cc
#     CUDA    schedule_cuda.cu      compiled only where CUDA is found
#     USES    kernels/weight_topk   rooms, by folder
#     LIBS    absl::status)         libraries from cmake/packages.cmake
#
# The target is the folder with slashes as underscores: worker_mask.
#
#   add_room_program(worker/cli filigree SOURCES main.cc USES ... LIBS ...)
#
# builds the program build/<preset>/filigree from files of that folder, under the same rule. The room's own library, if it has
# one, is linked.
#
#   add_room_test(worker/mask schedule_test.cc [LIBS ...] [USES ...] [LABELS slow] [TIMEOUT seconds])
#
# builds tests/worker/mask/schedule_test.cc with GoogleTest against the room and registers it with CTest, under the same rule.
# A test may also use tests/support.

function(filigree_room_target room out)
  string(REPLACE "/" "_" target ${room})
  set(${out} ${target} PARENT_SCOPE)
endfunction()

# Links the rooms `used` to `target`; they must have been declared before.
function(filigree_use_rooms target scope room used)
  foreach(other IN LISTS used)
    filigree_room_target(${other} other_target)
    if(NOT TARGET ${other_target})
      message(FATAL_ERROR "${room} uses ${other}, which stands below it in FILIGREE_ROOMS or does not exist")
    endif()
    target_link_libraries(${target} ${scope} ${other_target})
  endforeach()
endfunction()

# Lets `target` wait for a check that fails where one of `files` includes a room that is not in `allowed`.
function(filigree_check_includes target room files allowed)
  set(stamp ${CMAKE_CURRENT_BINARY_DIR}/${target}.includes)
  string(REPLACE ";" "," file_list "${files}")
  string(REPLACE ";" "," allowed_list "${allowed}")
  add_custom_command(OUTPUT ${stamp}
    COMMAND ${CMAKE_COMMAND} -DROOM=${room} -DROOT=${PROJECT_SOURCE_DIR} -DFILES=${file_list} -DALLOWED=${allowed_list}
            -DSTAMP=${stamp} -DDEPFILE=${stamp}.d -P ${PROJECT_SOURCE_DIR}/cmake/check_includes.cmake
    DEPENDS ${files} ${PROJECT_SOURCE_DIR}/cmake/check_includes.cmake
    DEPFILE ${stamp}.d
    COMMENT "Includes of ${room}" VERBATIM)
  add_custom_target(${target}_includes DEPENDS ${stamp})
  add_dependencies(${target} ${target}_includes)
endfunction()

function(add_room room)
  cmake_parse_arguments(ARG "" "" "HEADERS;SOURCES;CUDA;USES;LIBS" ${ARGN})
  if(ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "add_room(${room}): unknown words ${ARG_UNPARSED_ARGUMENTS}")
  endif()
  filigree_room_target(${room} target)
  set(sources ${ARG_SOURCES})
  if(FILIGREE_HAVE_CUDA)
    list(APPEND sources ${ARG_CUDA})
  endif()
  if(sources)
    add_library(${target} STATIC ${sources} ${ARG_HEADERS})
    set(scope PUBLIC)
    target_link_libraries(${target} PRIVATE filigree_warnings)
    set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX)
  else()
    add_library(${target} INTERFACE ${ARG_HEADERS})
    set(scope INTERFACE)
  endif()
  target_include_directories(${target} ${scope} ${PROJECT_SOURCE_DIR})
  target_link_libraries(${target} ${scope} ${ARG_LIBS} Threads::Threads)
  filigree_use_rooms(${target} ${scope} ${room} "${ARG_USES}")
  set(files ${ARG_HEADERS} ${ARG_SOURCES} ${ARG_CUDA})
  list(TRANSFORM files PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  filigree_check_includes(${target} ${room} "${files}" "${room};${ARG_USES}")
endfunction()

function(add_room_program room target)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES;LIBS" ${ARGN})
  if(ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "add_room_program(${room} ${target}): unknown words ${ARG_UNPARSED_ARGUMENTS}")
  endif()
  filigree_room_target(${room} room_target)
  add_executable(${target} ${ARG_SOURCES})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${target} PRIVATE filigree_warnings ${ARG_LIBS} Threads::Threads)
  if(TARGET ${room_target})
    target_link_libraries(${target} PRIVATE ${room_target})
  endif()
  filigree_use_rooms(${target} PRIVATE ${room} "${ARG_USES}")
  set(files ${ARG_SOURCES})
  list(TRANSFORM files PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  filigree_check_includes(${target} ${room} "${files}" "${room};${ARG_USES}")
endfunction()

function(add_room_test room source)
  cmake_parse_arguments(ARG "" "TIMEOUT" "LIBS;USES;LABELS" ${ARGN})
  if(ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "add_room_test(${room} ${source}): unknown words ${ARG_UNPARSED_ARGUMENTS}")
  endif()
  filigree_room_target(${room} room_target)
  get_filename_component(name ${source} NAME_WE)
  set(target ${room_target}_${name})
  add_executable(${target} ${PROJECT_SOURCE_DIR}/tests/${room}/${source})
  target_link_libraries(${target} PRIVATE ${room_target} tests_support filigree_warnings GTest::gtest GTest::gtest_main ${ARG_LIBS})
  filigree_use_rooms(${target} PRIVATE tests/${room} "${ARG_USES}")
  filigree_check_includes(${target} tests/${room} "${PROJECT_SOURCE_DIR}/tests/${room}/${source}"
                          "${room};tests/support;tests/${room};kernels/base;${ARG_USES}")
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  if(FILIGREE_PATIENCE)  # cmake/sanitizers.cmake
    math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * ${FILIGREE_PATIENCE}")
  endif()
  add_test(NAME ${room}/${name} COMMAND ${target})
  set_tests_properties(${room}/${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()

# Stops where a target below `folder` compiles sources that nobody checks: called once, when all targets are known.
function(filigree_require_checks folder)
  get_property(targets DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(type ${target} TYPE)
    if(NOT type STREQUAL "UTILITY" AND NOT type STREQUAL "INTERFACE_LIBRARY" AND NOT TARGET ${target}_includes)
      message(FATAL_ERROR "${target} in ${folder} is built without a check of its includes: declare it with add_room, "
              "add_room_program or add_room_test, or call filigree_check_includes")
    endif()
  endforeach()
  get_property(subfolders DIRECTORY ${folder} PROPERTY SUBDIRECTORIES)
  foreach(subfolder IN LISTS subfolders)
    filigree_require_checks(${subfolder})
  endforeach()
endfunction()
