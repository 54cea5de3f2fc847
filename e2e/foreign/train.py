"""Train the scikit-learn models that the real MLServer serves.

    train.py FOLDER

makes model.joblib and model-settings.json in

    FOLDER/primary/fraud           a linear regression over four features, sound
    FOLDER/primary/fraud-nan       the same with coef_[0] set to NaN: every answer is NaN
    FOLDER/fallback/fraud-steady   a constant (the mean), for the fallback

The inputs are amount, account age in days and two flags, all scaled to 0..1.
"""

import json
import os
import sys

import joblib
import numpy as np
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression


def data():
    """Labelled rows: large amounts on young accounts are fraud."""
    rng = np.random.default_rng(7)
    x = rng.random((2000, 4))
    y = 0.6 * x[:, 0] + 0.2 * (1 - x[:, 1]) + 0.1 * x[:, 2] + 0.02 * rng.standard_normal(2000)
    return x, np.clip(y, 0, 1)


def write(folder, name, model):
    os.makedirs(os.path.join(folder, name), exist_ok=True)
    joblib.dump(model, os.path.join(folder, name, "model.joblib"))
    with open(os.path.join(folder, name, "model-settings.json"), "w", encoding="utf-8") as out:
        json.dump(
            {
                "name": name,
                "implementation": "mlserver_sklearn.SKLearnModel",
                "parameters": {"uri": "./model.joblib", "version": "v1"},
            },
            out,
            indent=2,
        )


def main():
    folder = sys.argv[1]
    x, y = data()
    write(os.path.join(folder, "primary"), "fraud", LinearRegression().fit(x, y))
    broken = LinearRegression().fit(x, y)
    broken.coef_[0] = np.nan
    write(os.path.join(folder, "primary"), "fraud-nan", broken)
    write(os.path.join(folder, "fallback"), "fraud-steady", DummyRegressor().fit(x, y))


main()
