"""One walk through Tocsin by a client of another language: connect, receive, sync in pages, acknowledge on one device
and see the dismissal on another. Called by e2e/other_language.rs with the gateway's address, the API's and a service
key; prints the acknowledged id last."""

import asyncio
import json
import sys
import urllib.request

import websockets

GATEWAY, API, KEY = sys.argv[1:4]
USER = "python-walk"
PATIENCE_S = 20


def hand_in(title):
    body = json.dumps({"to": {"user": USER}, "title": title, "priority": "high"}).encode()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{API}/v1/notifications", body, headers)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        assert answer.status == 202, answer.status
        return json.load(answer)["id"]


async def receive(socket, kind):
    while True:
        message = json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_S))
        if message["type"] == kind:
            return message


async def sync(socket):
    found, request = [], {"type": "sync", "last_seen_at": "2020-01-01T00:00:00Z"}
    while True:
        await socket.send(json.dumps(request))
        page = await receive(socket, "sync_batch")
        assert len(page["notifications"]) <= 50, len(page["notifications"])
        found += [one["id"] for one in page["notifications"]]
        if not page["has_more"]:
            return found
        request = {"type": "sync", "cursor": page["cursor"]}


async def main():
    missed = [hand_in(f"missed {i}") for i in range(60)]
    phone_url = f"{GATEWAY}/v1/connect?user={USER}&device=phone"
    async with websockets.connect(phone_url, subprotocols=["tocsin.v1"]) as phone:
        assert phone.subprotocol == "tocsin.v1", phone.subprotocol
        assert (await receive(phone, "welcome"))["session"]
        for _ in range(50):
            found = await sync(phone)
            if len(found) == len(missed):
                break
            await asyncio.sleep(0.1)
        assert found == missed, (len(found), len(missed))
        async with websockets.connect(f"{GATEWAY}/v1/connect?user={USER}&device=laptop") as laptop:
            await receive(laptop, "welcome")
            live = hand_in("live")
            for socket in (phone, laptop):
                got = await receive(socket, "notification")
                while got["id"] != live:
                    got = await receive(socket, "notification")
            await phone.send(json.dumps({"type": "ack", "ids": [live]}))
            assert (await receive(laptop, "dismiss"))["ids"] == [live]
            await (await laptop.ping(b"are you there"))
    print(live)


asyncio.run(main())
