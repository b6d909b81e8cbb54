// A plain broadcast server on uWebSockets: whatever a client of /publish says goes to all others. A peer of `loadtest compare`;
// loadtest/peers/run builds it, outside the repository, against the library's own sources.
#include <cstdio>
#include <cstdlib>

#include "App.h"

struct Publisher {};
struct Subscriber {};

int main(int argc, char **argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return 2;
    }
    uWS::App app;
    app.ws<Publisher>("/publish", {
        .compression = uWS::DISABLED,
        .message = [&app](auto *, std::string_view message, uWS::OpCode) {
            app.publish("all", message, uWS::OpCode::TEXT);
        },
    });
    app.ws<Subscriber>("/*", {
        .compression = uWS::DISABLED,
        .maxBackpressure = 16 * 1024 * 1024,
        .open = [](auto *socket) {
            socket->subscribe("all");
            socket->send("welcome", uWS::OpCode::TEXT);
        },
    });
    bool listens = false;
    app.listen("127.0.0.1", std::atoi(argv[1]), [&listens](auto *socket) { listens = socket != nullptr; });
    if (!listens) {
        std::fprintf(stderr, "uws: cannot listen on port %s\n", argv[1]);
        return 1;
    }
    app.run();
}
