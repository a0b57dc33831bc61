"""Waits until a module is back, works its queue off, and tells what came of each operation.

    python docs/examples/technician.py --broker mqtts://broker.example --gateway gw-0042 --actor tech-anna module-03

With --key the request is signed: `bms-gateway access keygen` makes one, and the access file has its public half.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from gateway.client import GatewayClient, GatewayError, Signer


async def drain(client: GatewayClient, component_id: str, patience_s: float) -> bool:
    """Work a component's queue off once it is there. Returns whether all went well."""
    print(f"waiting for {component_id}", flush=True)
    await client.wait_for(component_id, "ONLINE", timeout_s=patience_s)
    waiting = await client.queue(component_id)
    print(f"{component_id} is online, {len(waiting.requests)} operations wait", flush=True)
    if not waiting.requests:
        return True

    report = await client.drain(component_id, max_operations=200)
    print(f"{report.successful} done, {report.failed} failed, in {report.processing_time_ms} ms")
    for operation in waiting.requests:
        now = (await client.request_status(operation.request_id)).request
        why = f": {now.last_error.message}" if now.last_error else ""
        print(f"  {now.request_id} {now.command_type or now.request_type} {now.status}{why}")
    return report.failed == 0


async def main() -> int:
    """Return 0: all is done; 1: something failed; 2: it could not be tried."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("component_id")
    options.add_argument("--broker", required=True, help="mqtts://host[:port]")
    options.add_argument("--gateway", required=True)
    options.add_argument("--actor", required=True, help="your name, as broker and gateway know it")
    options.add_argument("--password-file", type=Path)
    options.add_argument("--ca-file", type=Path, help="who issued the broker's certificate")
    options.add_argument("--key", type=Path, help="your private key, to sign with")
    options.add_argument("--key-id", default="default", help="its name in the access file")
    options.add_argument("--patience", type=float, default=3600.0, metavar="SECONDS", help="how long to wait for it")
    args = options.parse_args()
    try:
        client = GatewayClient(
            args.broker,
            gateway=args.gateway,
            actor=args.actor,
            password_file=args.password_file,
            ca_file=args.ca_file,
            signer=Signer.load(args.key_id, args.key) if args.key else None,
        )
        async with client:
            return 0 if await drain(client, args.component_id, args.patience) else 1
    except (GatewayError, TimeoutError) as why:
        print(why, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
