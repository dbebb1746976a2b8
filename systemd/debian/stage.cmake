# SPDX-License-Identifier: BSD-3-Clause
# What a Debian package has beside what `cmake --install` puts in place. Run by cpack in the tree that it packs.
set(root ${CPACK_TEMPORARY_DIRECTORY})
set(doc ${root}/usr/share/doc/millrace)
set(plain OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)

file(COPY ${CPACK_MILLRACE_DEBIAN_DIR}/millrace.toml DESTINATION ${root}/etc/millrace FILE_PERMISSIONS ${plain}
     DIRECTORY_PERMISSIONS ${CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS})
file(COPY ${CPACK_MILLRACE_DEBIAN_DIR}/overrides DESTINATION ${root}/usr/share/lintian FILE_PERMISSIONS ${plain})

# The license's text is the project's own; its header, Debian's.
file(READ ${CPACK_MILLRACE_LICENSE} license)
file(READ ${CPACK_MILLRACE_DEBIAN_DIR}/copyright head)
string(REGEX REPLACE "\n\n" "\n.\n" license "${license}")
string(REGEX REPLACE "\n" "\n " license "${license}")
string(STRIP "${license}" license)
file(WRITE ${doc}/copyright "${head} ${license}\n")

set(DEBIAN_VERSION ${CPACK_PACKAGE_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})
configure_file(${CPACK_MILLRACE_DEBIAN_DIR}/changelog.in ${doc}/changelog.Debian @ONLY)
file(GLOB manuals ${root}/usr/share/man/man*/*)
foreach(file ${manuals} ${doc}/changelog.Debian)
    execute_process(COMMAND gzip -9n ${file} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
