"""`python -m trainers JOB.json`, as the engine starts it."""

from trainers.direct import main

main()
