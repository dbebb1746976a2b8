// SPDX-License-Identifier: BSD-3-Clause
// The contract with libxdp, by which every DPDK finds our XSKMAP: it adopts the attached program, loads none
// of its own, and leaves it on the port when its last socket closes.
#include <bpf/btf.h>
#include <sys/mman.h>
#include <xdp/libxdp.h>
#include <xdp/xsk.h>

#include <cstring>
#include <memory>

#include "millrace/abi.h"
#include "veth_fixture.hpp"

namespace millrace::test {
namespace {

constexpr uint64_t umem_size = 64ULL * XSK_UMEM__DEFAULT_FRAME_SIZE;

struct CloseProgram {
    void operator()(xdp_program* p) const { xdp_program__close(p); }
};
struct CloseUmem {
    void operator()(xsk_umem* u) const { xsk_umem__delete(u); }
};
struct CloseSocket {
    void operator()(xsk_socket* s) const { xsk_socket__delete(s); }
};
struct Unmap {
    void operator()(void* p) const { munmap(p, umem_size); }
};

using LibxdpTest = VethTest;

TEST_F(LibxdpTest, BtfSaysVersionOne) {
    const auto report = attach("e0");
    ASSERT_TRUE(report) << report.error().text();
    const std::unique_ptr<xdp_program, CloseProgram> program(xdp_program__from_id(report->program_id));
    ASSERT_EQ(libxdp_get_error(program.get()), 0);
    EXPECT_STREQ(xdp_program__name(program.get()), MILLRACE_PROGRAM_NAME);

    // xsk_prog_version is a pointer to an array of as many elements as the version says (libbpf's __uint).
    const btf* types = xdp_program__btf(program.get());
    ASSERT_NE(types, nullptr);
    const int section = btf__find_by_name_kind(types, "xdp_metadata", BTF_KIND_DATASEC);
    ASSERT_GT(section, 0);
    const btf_type* datasec = btf__type_by_id(types, static_cast<uint32_t>(section));
    ASSERT_EQ(btf_vlen(datasec), 1);
    const btf_type* variable = btf__type_by_id(types, btf_var_secinfos(datasec)->type);
    EXPECT_STREQ(btf__name_by_offset(types, variable->name_off), "xsk_prog_version");
    const btf_type* pointer = btf__type_by_id(types, variable->type);
    ASSERT_TRUE(btf_is_ptr(pointer));
    const btf_type* array = btf__type_by_id(types, pointer->type);
    ASSERT_TRUE(btf_is_array(array));
    EXPECT_EQ(btf_array(array)->nelems, 1U);
}

// The maps of the program are ours and no other: no .data, no .bss, no .rodata.
TEST_F(LibxdpTest, NoGlobalData) {
    const auto report = attach("e0");
    ASSERT_TRUE(report) << report.error().text();
    const steering::Fd program(bpf_prog_get_fd_by_id(report->program_id));
    std::array<uint32_t, 32> ids{};
    bpf_prog_info info{};
    info.nr_map_ids = ids.size();
    info.map_ids = reinterpret_cast<uint64_t>(ids.data());
    uint32_t size = sizeof(info);
    ASSERT_EQ(bpf_obj_get_info_by_fd(program.get(), &info, &size), 0);
    EXPECT_EQ(info.nr_map_ids, 11U);  // all but port_state
    for (uint32_t i = 0; i < info.nr_map_ids; ++i) {
        const steering::Fd map(bpf_map_get_fd_by_id(ids[i]));
        bpf_map_info about{};
        size = sizeof(about);
        ASSERT_EQ(bpf_obj_get_info_by_fd(map.get(), &about, &size), 0);
        EXPECT_EQ(std::string_view(about.name).find('.'), std::string_view::npos) << about.name;
    }
}

TEST_F(LibxdpTest, SocketGoesIntoOurMapAndTheProgramStays) {
    const auto report = attach("e0");
    ASSERT_TRUE(report) << report.error().text();
    const std::unique_ptr<void, Unmap> memory(
        mmap(nullptr, umem_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    xsk_ring_prod fill{};
    xsk_ring_prod tx{};
    xsk_ring_cons completion{};
    xsk_ring_cons rx{};
    xsk_umem* umem_made = nullptr;
    ASSERT_EQ(xsk_umem__create(&umem_made, memory.get(), umem_size, &fill, &completion, nullptr), 0);
    const std::unique_ptr<xsk_umem, CloseUmem> umem(umem_made);
    xsk_socket_config config{};
    config.rx_size = 64;
    config.tx_size = 64;
    config.bind_flags = XDP_COPY;
    xsk_socket* socket_made = nullptr;
    ASSERT_EQ(xsk_socket__create(&socket_made, "e0", 0, umem.get(), &rx, &tx, &config), 0);
    std::unique_ptr<xsk_socket, CloseSocket> socket(socket_made);
    EXPECT_EQ(program_on("e0"), report->program_id);

    // User space cannot read an XSKMAP; but where there is a socket, another one cannot be new.
    const steering::Fd xsks(bpf_obj_get(pin(MILLRACE_MAP_XSKS).c_str()));
    const uint32_t queue = 0;
    const steering::Fd other(::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
    const int fd = other.get();
    EXPECT_NE(bpf_map_update_elem(xsks.get(), &queue, &fd, BPF_NOEXIST), 0);
    EXPECT_EQ(errno, EEXIST);

    // The kernel takes a closed socket out of the map.
    socket.reset();
    EXPECT_EQ(bpf_map_update_elem(xsks.get(), &queue, &fd, BPF_NOEXIST), 0);
    EXPECT_EQ(program_on("e0"), report->program_id);
    EXPECT_TRUE(exists(pin(MILLRACE_PIN_LINK)));
}

}  // namespace
}  // namespace millrace::test
