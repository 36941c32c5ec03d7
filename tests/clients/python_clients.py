"""The clients in Python, one kept session each: NAME PROXY ORIGIN CA. Prints what they saw as JSON."""

import asyncio
import json
import ssl
import sys
import time

NAME, PROXY, ORIGIN, CA = sys.argv[1:5]


async def timeline(get):
    """Asks along the time of two sessions of 4 s. `get`: a path to the body of its response."""
    exits, errors = [], []
    began = time.monotonic()

    async def ask(at, path):
        await asyncio.sleep(max(0, began + at - time.monotonic()))
        try:
            exits.append(await get(path))
        except Exception as error:
            exits.append(None)
            errors.append(f"{path} at {at} s: {type(error).__name__}: {error}"[:200])

    for at, path in [(0, "/"), (1, "/"), (4.3, "/"), (6.3, "/think/5"), (14, "/")]:
        await ask(at, path)
    print(json.dumps({"exits": exits, "errors": errors}))


def blocking(get):
    return lambda path: asyncio.to_thread(get, path)


async def requests_():
    import requests

    session = requests.Session()
    session.proxies = {"https": PROXY}
    await timeline(blocking(lambda path: session.get(ORIGIN + path, verify=CA).text))


async def httpx_(http2):
    import httpx

    async with httpx.AsyncClient(
        proxy=PROXY, verify=ssl.create_default_context(cafile=CA), http2=http2, timeout=60
    ) as client:

        async def get(path):
            response = await client.get(ORIGIN + path)
            assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1"), response.http_version
            return response.text

        await timeline(get)


async def aiohttp_():
    import aiohttp

    context = ssl.create_default_context(cafile=CA)
    async with aiohttp.ClientSession() as session:

        async def get(path):
            async with session.get(ORIGIN + path, proxy=PROXY, ssl=context) as response:
                return await response.text()

        await timeline(get)


async def curl_cffi_():
    from curl_cffi import requests

    session = requests.Session(proxy=PROXY, verify=CA, impersonate="chrome")
    await timeline(blocking(lambda path: session.get(ORIGIN + path, timeout=60).text))


def scrapy_():
    import scrapy
    from scrapy.crawler import CrawlerProcess
    from scrapy.utils.defer import maybe_deferred_to_future

    class Spider(scrapy.Spider):
        name = "timeline"
        custom_settings = {
            "TWISTED_REACTOR": "twisted.internet.asyncioreactor.AsyncioSelectorReactor",
            "LOG_LEVEL": "ERROR",
            "DUPEFILTER_CLASS": "scrapy.dupefilters.BaseDupeFilter",
        }

        async def start(self):
            async def get(path):
                request = scrapy.Request(ORIGIN + path, meta={"proxy": PROXY}, dont_filter=True)
                downloaded = self.crawler.engine.download(request)
                response = await maybe_deferred_to_future(downloaded)
                return response.text

            await timeline(get)
            return
            yield

    process = CrawlerProcess()
    process.crawl(Spider)
    process.start()


async def chromium_():
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", proxy={"server": PROXY}, args=["--no-sandbox"]
        )
        page = await browser.new_page(ignore_https_errors=True)

        async def get(path):
            response = await page.goto(ORIGIN + path, timeout=60_000)
            return (await response.body()).decode()

        await timeline(get)
        await browser.close()


def main():
    if NAME == "scrapy":
        return scrapy_()
    run = {
        "requests": requests_,
        "httpx-h1": lambda: httpx_(False),
        "httpx-h2": lambda: httpx_(True),
        "aiohttp": aiohttp_,
        "curl_cffi": curl_cffi_,
        "chromium": chromium_,
    }
    asyncio.run(run[NAME]())


main()
