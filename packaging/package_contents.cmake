# Read by CPack once for each kind of package: which components of the installation it holds.
# Unspecified is what belongs to all of them. The tarball is for any Linux, so it has what is linked
# statically and leaves out fairlead-net.
set(components Unspecified)
if(CPACK_GENERATOR STREQUAL DEB)
  list(APPEND components fairlead-net debian)
elseif(CPACK_GENERATOR STREQUAL RPM)
  list(APPEND components fairlead-net license)
else()
  list(APPEND components license)
  set(CPACK_PACKAGING_INSTALL_PREFIX /)
  set(CPACK_PACKAGE_FILE_NAME
    ${CPACK_PACKAGE_NAME}-${CPACK_PACKAGE_VERSION}-${CPACK_SYSTEM_NAME}-static)
endif()

list(GET CPACK_INSTALL_CMAKE_PROJECTS 0 build_directory)
set(CPACK_INSTALL_CMAKE_PROJECTS)
foreach(component IN LISTS components)
  list(APPEND CPACK_INSTALL_CMAKE_PROJECTS ${build_directory} fairlead ${component} /)
endforeach()
