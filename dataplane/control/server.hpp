// SPDX-License-Identifier: BSD-3-Clause
// The daemon's end of the operator's socket. Newline-delimited JSON over a UNIX stream socket:
//
//   request   {"show": "routes", "arguments": {"family": "ipv4"}}
//             {"do": "drain", "arguments": {"port": "eth0"}}
//   answer    {"row":{...}}             any number of these; to the byte, but for what is in the row
//             {"end": {"rows": 2}}      or {"error": "one line"} instead, at any point
//
// Requests of one connection are answered in order. Rows are made as the client takes them, so an answer of
// any length holds up neither the daemon nor its memory. A client that asks nothing for a minute, or takes
// nothing of its answer, is let go.
#pragma once

#include <chrono>
#include <list>
#include <map>
#include <memory>
#include <string>

#include "dataplane/control/event_loop.hpp"
#include "millrace/rows.hpp"
#include "steering_bpf/fd.hpp"

namespace millrace::dataplane {

class Server {
  public:
    // Binds path (its folder is made), mode 0660. Error when a live daemon answers there, or has begun to
    // start: who has path.lock locked is the one. patience: for a client. Control thread, like all that
    // follows. loop outlives the server.
    static Result<std::unique_ptr<Server>> listen(
        EventLoop& loop, const std::string& path,
        std::chrono::milliseconds patience = std::chrono::minutes(1));
    // Could a server listen there? Leaves nothing behind but the folder and path.lock.
    static Status could_listen(const std::string& path);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    // What `show NAME` is answered from.
    void add_show(std::string name, RowOpener opener) { shows_[std::move(name)] = std::move(opener); }
    // What NAME does; its rows say how far it is, or what came of it.
    void add_action(std::string name, RowOpener opener) { actions_[std::move(name)] = std::move(opener); }

  private:
    struct Client {
        int fd = -1;
        bool ended = false;  // it sends nothing more, but may still read
        EventLoop::Handle handle;
        std::string input;
        std::string output;
        std::unique_ptr<RowSource> rows;
        uint64_t row_count = 0;
        std::chrono::steady_clock::time_point moved{};  // when bytes went in or out, or rows were awaited
        ~Client();
    };
    Server(EventLoop& loop, std::string path) : loop_(loop), path_(std::move(path)) {}
    Status bind_socket();
    void accept_client();
    void drop_those_that_wait(std::chrono::milliseconds patience);
    void drop(std::list<Client>::iterator client);
    // false: the connection has ended.
    bool serve(Client& client, uint32_t events);
    bool receive(Client& client);
    void produce(Client& client);
    void begin(Client& client, const std::string& line);
    bool send_output(Client& client);

    EventLoop& loop_;
    std::string path_;
    steering::Fd lock_;
    int fd_ = -1;
    EventLoop::Handle handle_;
    EventLoop::Handle timer_;
    std::list<Client> clients_;
    std::chrono::steady_clock::time_point full_at_{};  // there was no descriptor
    std::map<std::string, RowOpener, std::less<>> shows_;
    std::map<std::string, RowOpener, std::less<>> actions_;
};

}  // namespace millrace::dataplane
