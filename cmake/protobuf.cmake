# Code for messages and services, written by protoc into the build folder; the repository has only the .proto files.
#
#   filigree_add_proto(filigree_v1 ${PROJECT_SOURCE_DIR}/proto filigree/v1/types.proto filigree/v1/workers.proto)
#
# makes a library whose headers are included as "filigree/v1/types.pb.h" and "filigree/v1/workers.grpc.pb.h" by who links it.
# Nobody reads that code, so it is compiled without warnings.
function(filigree_add_proto target root)
  set(out ${PROJECT_BINARY_DIR}/generated)
  set(sources "")
  foreach(proto IN LISTS ARGN)
    string(REGEX REPLACE "\\.proto$" "" stem ${proto})
    set(files ${out}/${stem}.pb.cc ${out}/${stem}.pb.h ${out}/${stem}.grpc.pb.cc ${out}/${stem}.grpc.pb.h)
    list(TRANSFORM ARGN PREPEND ${root}/ OUTPUT_VARIABLE all)
    add_custom_command(OUTPUT ${files}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${out}
      COMMAND protobuf::protoc -I ${root} --cpp_out=${out} --grpc_out=${out}
              --plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin> ${proto}
      DEPENDS ${all} COMMENT "Messages of ${proto}" VERBATIM)
    list(APPEND sources ${files})
  endforeach()
  add_library(${target} STATIC ${sources})
  target_compile_options(${target} PRIVATE -w)
  target_include_directories(${target} SYSTEM PUBLIC ${out})
  target_link_libraries(${target} PUBLIC gRPC::grpc++ protobuf::libprotobuf Threads::Threads)
  # Includes of generated files are protoc's business.
  filigree_check_includes(${target} ${target} "" "")
endfunction()
